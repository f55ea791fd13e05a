"""Play a recorded source in real time, like a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from depth_anything_3.inputs.video.frame import Frame, FrameSource

__all__ = ["RealTimeSource"]


class RealTimeSource(FrameSource):
    """Yield each frame at its time relative to the first; late frames immediately.

    Args:
        source: source to play; `close()` also closes it.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._closed = threading.Event()
        self.info = replace(source.info, live=True)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in real time. Errors as in the source."""
        began: float | None = None
        for frame in self._source:
            if began is None:
                began = time.monotonic() - frame.time
            if self._closed.wait(max(0.0, began + frame.time - time.monotonic())):
                return
            yield replace(frame, captured=time.monotonic())

    def close(self) -> None:
        """End an iteration in progress, even while it waits."""
        self._closed.set()
        self._source.close()
