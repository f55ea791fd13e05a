"""Compute the depth of a live source: always the newest frame; frames that arrive too fast are dropped."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.video.frame import Frame, FrameSource
from depth_anything_3.prediction import Prediction

__all__ = ["LiveStats", "LiveStream"]

Item = TypeVar("Item")

_RECENT = 1000  # results that percentiles are taken over
_WAKE_INTERVAL = 0.5  # seconds
# Share of the frame interval: if the next frame is due within it, wait for that frame.
_MAX_WAIT_SHARE = 0.25
_MAX_DELAY_SHARE = 0.1  # share of the frame interval that a frame may be late
_CLOSE_TIMEOUT = 5.0  # seconds for a source to notice that it was closed


@dataclass(frozen=True)
class LiveStats:
    """Statistics of a live stream.

    Attributes:
        captured: frames read from the source.
        delivered: frames whose depth the caller received.
        dropped: frames replaced by a newer one, before or after the network.
        failed: frames that could not be used.
        fps: recently delivered frames per second.
        p50, p95, p99: percentiles of the latency of the last 1,000 frames, in seconds from capture to delivery; NaN
            before the first.
    """

    captured: int
    delivered: int
    dropped: int
    failed: int
    fps: float
    p50: float
    p95: float
    p99: float

    def __str__(self) -> str:
        latency = ", ".join(f"p{rank} {1e3 * getattr(self, f'p{rank}'):.0f}" for rank in (50, 95, 99))
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.captured} frames, {self.delivered} shown, {self.dropped} dropped{failed}; {self.fps:.1f} fps; "
            f"latency ms: {latency}"
        )


class _LatestValue(Generic[Item]):
    """A single slot between two threads: a newer item replaces one that was not taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[Item] = []
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Store an item; return whether it replaced an older one."""
        with self._changed:
            lost = bool(self._items)
            self._items = [item]
            self._changed.notify_all()
            return lost

    def wait(self, seconds: float) -> Item | None:
        """Wait up to a number of seconds; return the newest item, or None."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, seconds)
            return self._items.pop() if self._items else None

    def end(self, error: BaseException | None = None) -> None:
        """Close the slot after the current item, with an optional error; only the first call counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> Item:
        """Block until an item arrives and return it; raise the producer's error, or `_Ended`, once closed."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._items or self._ended, _WAKE_INTERVAL):
                pass  # Windows handles Ctrl-C only between two waits
            if self._items:
                return self._items.pop()
            raise self._error or _Ended


class _Ended(Exception):
    """No more items will arrive."""


class LiveStream(Iterator[tuple[Frame, Prediction]]):
    """Computes the depth of the newest frame of a source; an iterator and a context manager.

    One thread reads the source, another runs the network, and the caller takes results in its own. A single frame and
    a single result wait between them; a newer one replaces one that was not taken. If the newest frame is old when the
    network becomes free and the next one is due soon, the network waits for it. The latency is therefore at most three
    quarters of the frame interval, plus the network's and the caller's time.

    Errors are raised after the results of earlier frames. Closing the stream, or the end of the process, stops both
    threads after the current frame.

    Args:
        source: source of frames; closed with the stream.
        compute: called in the network's thread with one frame at a time.
        on_failure: called in that thread for a frame for which `compute` raises a `DA3Error`; None raises the error.
    """

    def __init__(
        self,
        source: FrameSource,
        compute: Callable[[Frame], Prediction],
        on_failure: Callable[[Frame, DA3Error], None] | None = None,
    ) -> None:
        self.source = source
        self._compute = compute
        self._on_failure = on_failure
        self._closed = False
        self._process = os.getpid()
        self._frames: _LatestValue[Frame] = _LatestValue()
        self._results: _LatestValue[tuple[Frame, Prediction]] = _LatestValue()
        self._interval = 0.0  # seconds between the last two frames
        self._captured = self._dropped = self._lost = self._failed = self._delivered = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._deliveries: deque[float] = deque(maxlen=60)
        self._capturing = threading.Thread(target=self._capture, name="da3-capture", daemon=True)
        self._computing = threading.Thread(target=self._infer, name="da3-network", daemon=True)
        # At exit Python ends the remaining threads; one of them inside a library's C++ code aborts the process.
        atexit.register(self.close)
        self._capturing.start()
        self._computing.start()

    @property
    def stats(self) -> LiveStats:
        """Current statistics; safe to read from any thread."""
        latencies, times = list(self._latencies), list(self._deliveries)
        percentiles = np.percentile(latencies, (50, 95, 99)) if latencies else (np.nan,) * 3
        p50, p95, p99 = (float(value) for value in percentiles)
        fps = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        dropped = self._dropped + self._lost
        return LiveStats(self._captured, self._delivered, dropped, self._failed, fps, p50, p95, p99)

    def __next__(self) -> tuple[Frame, Prediction]:
        if self._closed:
            raise StopIteration
        try:
            frame, prediction = self._results.take()
        except BaseException as error:
            self.close()
            if isinstance(error, _Ended):
                raise StopIteration from None
            raise
        now = time.monotonic()
        self._delivered += 1
        self._latencies.append(now - frame.captured)
        self._deliveries.append(now)
        return frame, prediction

    def close(self) -> None:
        """Stop both threads and close the source; pending results are discarded. May be called more than once."""
        self._closed = True
        if self._process != os.getpid():  # in the child of a fork the threads do not exist, and locks may be held
            return
        self._frames.end()
        self._results.end()
        self.source.close()
        atexit.unregister(self.close)
        # A slow source may take longer than the timeout; its frames are ignored.
        self._capturing.join(_CLOSE_TIMEOUT)
        self._computing.join()

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _capture(self) -> None:
        before: float | None = None
        try:
            for frame in self.source:
                if self._closed:
                    break
                self._captured += 1
                self._interval = 0.0 if before is None else frame.captured - before
                before = frame.captured
                self._dropped += self._frames.put(frame)
                del frame  # or its memory would be held until the next frame
            self._frames.end()
        except BaseException as error:  # raised again where results are taken
            self._frames.end(error)
        finally:
            self.source.close()  # here too: `close` cannot release a source that this thread is reading

    def _seconds_to_wait(self, frame: Frame) -> float:
        """Return how many seconds to wait for a newer frame; 0 if none is due soon."""
        due = frame.captured + self._interval - time.monotonic()
        return due + _MAX_DELAY_SHARE * self._interval if 0 < due <= _MAX_WAIT_SHARE * self._interval else 0.0

    def _infer(self) -> None:
        try:
            while True:
                frame = self._frames.take()
                if (newer := self._frames.wait(self._seconds_to_wait(frame))) is not None:
                    self._lost += 1
                    frame = newer
                del newer
                if self._closed:
                    return
                try:
                    result = frame, self._compute(frame)
                except DA3Error as error:
                    if self._on_failure is None:
                        raise
                    self._failed += 1
                    self._on_failure(frame, error)
                else:
                    self._lost += self._results.put(result)
                    del result
                del frame
        except _Ended:
            self._results.end()
        except BaseException as error:
            self._results.end(error)
