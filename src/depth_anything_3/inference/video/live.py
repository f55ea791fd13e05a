"""Frames that do not wait in, depth of the newest one out: what comes too fast is dropped and counted."""

from __future__ import annotations

import atexit
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
_WAKE = 0.5  # seconds
# Of the time between two frames: when the next one is due within it, an old one is not worth computing.
_MAX_WAIT_SHARE = 0.25
_MAX_DELAY_SHARE = 0.1  # of it, that a frame may be late
_CLOSE_TIMEOUT = 5.0  # seconds for a source to notice that it was closed


@dataclass(frozen=True)
class LiveStats:
    """How a live stream goes.

    Attributes:
        captured: frames that the source gave.
        delivered: frames whose depth was taken.
        dropped: frames given up for a newer one, before the network or after it.
        failed: frames that could not be used.
        fps: frames delivered a second, of late.
        p50, p95, p99: seconds from a frame's `captured` to the delivery of its depth, percentiles of the last 1,000;
            NaN before the first.
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
    """A single slot between two threads: an item that was not taken is replaced by a newer one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[Item] = []
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> bool:
        """Leave an item; whether an older one was lost by it."""
        with self._changed:
            lost = bool(self._items)
            self._items = [item]
            self._changed.notify_all()
            return lost

    def wait(self, seconds: float) -> Item | None:
        """The newest item, if there is one within a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, seconds)
            return self._items.pop() if self._items else None

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes after what is there; the first call counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> Item:
        """The newest item, as soon as there is one; raises _Ended, or what it was ended with, if none will come."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._items or self._ended, _WAKE):
                pass  # Windows hears Ctrl-C between two waits only
            if self._items:
                return self._items.pop()
            raise self._error or _Ended


class _Ended(Exception):
    """Nothing comes any more."""


class LiveStream(Iterator[tuple[Frame, Prediction]]):
    """Gives depth of the newest frame of a source, as it is computed; an iterator and a context manager.

    The source is read in one thread, the network runs in another, and the caller takes results in its own. Between
    them there is room for one frame and one result; a newer one takes the place of one that was not taken. Where the
    newest frame is old when the network is free, and the next one is due, that one is waited for. So a result is late
    by at most three quarters of the time between frames, the network's time, and the caller's own.

    What goes wrong is raised where it happens in the order: after the results of the frames before. Closing it, or the
    end of the process, ends both threads as soon as the frame under way is done.

    Args:
        source: closed with this.
        compute: called in the network's thread, with one frame at a time.
        on_failure: called in that thread for a frame for which `compute` raises a `DA3Error`; None: raise it.
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
        self._frames: _LatestValue[Frame] = _LatestValue()
        self._results: _LatestValue[tuple[Frame, Prediction]] = _LatestValue()
        self._interval = 0.0  # seconds between the last two frames
        self._captured = self._dropped = self._lost = self._failed = self._delivered = 0
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._deliveries: deque[float] = deque(maxlen=60)
        self._capturing = threading.Thread(target=self._capture, name="da3-capture", daemon=True)
        self._computing = threading.Thread(target=self._infer, name="da3-network", daemon=True)
        # Python ends the threads that are left; one of them in the midst of a library's C++ aborts the process.
        atexit.register(self.close)
        self._capturing.start()
        self._computing.start()

    @property
    def stats(self) -> LiveStats:
        """How it goes so far; may be asked from any thread."""
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
        """End both threads and the source; results that were not taken are lost. May be called more than once."""
        self._closed = True
        self._frames.end()
        self._results.end()
        self.source.close()
        atexit.unregister(self.close)
        # A source that reads from somewhere slow may take its time; nothing that it gives is used any more.
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
                del frame  # or its memory would be held until the next one is there
            self._frames.end()
        except BaseException as error:  # raised again where results are taken
            self._frames.end(error)
        finally:
            self.source.close()  # here too: while this thread was in it, `close` could only tell it to stop

    def _worth_waiting(self, frame: Frame) -> float:
        """Seconds in which a newer frame than this one should come, if they are few."""
        due = frame.captured + self._interval - time.monotonic()
        return due + _MAX_DELAY_SHARE * self._interval if 0 < due <= _MAX_WAIT_SHARE * self._interval else 0.0

    def _infer(self) -> None:
        try:
            while True:
                frame = self._frames.take()
                if (newer := self._frames.wait(self._worth_waiting(frame))) is not None:
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
