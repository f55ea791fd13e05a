"""Reconnect to a live stream that drops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.inputs.video.frame import Frame, FrameSource

__all__ = ["ReconnectingSource"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds; doubled after each try
_MAX_PAUSE = 10.0


class ReconnectingSource(FrameSource):
    """A live stream that is reopened when it drops or ends, with retry delays from half a second up to ten seconds.

    Times and indices continue: the lost time is a gap between two frames. Losses and reconnections are logged. A source
    that is not live, such as a file on a server, is not reopened.

    Args:
        open_source: opens the stream; errors of the first call are raised by the constructor.
        seconds: how long to retry after each loss before raising it.

    Raises:
        InvalidInputError: `seconds` is negative.
    """

    def __init__(self, open_source: Callable[[], FrameSource], seconds: float) -> None:
        if not seconds >= 0:
            raise InvalidInputError(f"reconnect={seconds!r}: give seconds, 0 or more")
        self._open = open_source
        self._retry_seconds = seconds
        self._closed = threading.Event()
        self._source = open_source()
        self.info = self._source.info
        self.reconnections = 0

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise the last error when the retry time is over."""
        index, seconds, first = -1, 0.0, 0  # index and time of the last frame, index of the connection's first
        offset: float | None = 0.0  # of the connection's own times
        seen = time.monotonic()
        while True:
            loss: VideoReadError | None = None
            try:
                for frame in self._source:
                    if offset is None:
                        offset = seconds + frame.captured - seen - frame.time
                    seconds, seen, index = frame.time + offset, frame.captured, first + frame.index
                    yield replace(frame, time=seconds, index=index)
            except VideoReadError as error:
                loss = error
            if self._closed.is_set():
                return
            if self._retry_seconds == 0 or not self.info.live:
                if loss is not None:
                    raise loss
                return
            self._reconnect(loss)
            if self._closed.is_set():
                return
            offset, first = None, index + 1

    def close(self) -> None:
        """End an iteration in progress, even while it waits to reconnect."""
        self._closed.set()
        self._source.close()

    def _reconnect(self, loss: VideoReadError | None) -> None:
        label = self.info.label
        logger.warning("%s: lost (%s); retrying for %g s", label, loss or "it ended", self._retry_seconds)
        self._source.close()
        lost, pause = time.monotonic(), _FIRST_PAUSE
        while not self._closed.wait(min(pause, max(0.0, lost + self._retry_seconds - time.monotonic()))):
            try:
                source = self._open()
            except VideoReadError as error:
                if time.monotonic() - lost >= self._retry_seconds:
                    text = f"{label}: lost, and not reconnected within {self._retry_seconds:g} s ({error})"
                    raise type(error)(text) from loss
                pause = min(2 * pause, _MAX_PAUSE)
                continue
            self._source = source
            if self._closed.is_set():  # `close` closed the previous source
                source.close()
            self.reconnections += 1
            logger.warning("%s: reconnected after %.1f s", label, time.monotonic() - lost)
            return
