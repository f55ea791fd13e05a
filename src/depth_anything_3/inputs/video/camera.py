"""A camera in, frames out as they come, by OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from depth_anything_3.errors import VideoReadError
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.selection import FrameSelection

__all__ = ["CameraSource"]


class CameraSource(FrameSource):
    """Frames of a camera, with the times at which they came.

    Args:
        name: its number or, on Linux, its device file, such as "/dev/video0".
        selection: which to take.

    Raises:
        VideoReadError: there is no such camera, or another program has it.
    """

    def __init__(self, name: str, selection: FrameSelection | None = None) -> None:
        self._selection = selection or FrameSelection()
        self._lock = threading.Lock()  # held while a frame is waited for
        self._stopped = threading.Event()
        self._label = f"camera {name}"
        self._capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
        if not self._capture.isOpened():
            raise VideoReadError(
                f"{self._label}: cannot be opened; is it plugged in, free, and may this user read it? "
                "On Linux, `ls /dev/video*` lists cameras"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited in the driver
        size = (int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
        self.info = SourceInfo(
            self._label,
            DecoderChoice("opencv", "cameras are read by OpenCV"),
            size if all(size) else None,
            float(self._capture.get(cv2.CAP_PROP_FPS)) or None,
            live=True,
        )

    def __iter__(self) -> Iterator[Frame]:
        """Raises VideoReadError when the camera gives no more frames."""
        selector, first, index = self._selection.begin(0.0), None, 0
        while not self._stopped.is_set():
            with self._lock:
                there, image = self._capture.read() if not self._stopped.is_set() else (False, None)
            now = time.monotonic()
            if self._stopped.is_set():  # `close` may have come while this thread was waiting
                break
            if not there or image is None:
                raise VideoReadError(f"{self._label}: gives no more frames; was it unplugged?")
            first = now if first is None else first
            if selector.is_past(now - first):
                break
            if selector.takes(now - first):
                yield Frame(np.asarray(image, np.uint8)[..., ::-1], now - first, index, now)
            index += 1
        self.close()

    def close(self) -> None:
        """Give the camera back; an iteration under way in another thread does it, after its next frame."""
        self._stopped.set()
        if self._lock.acquire(blocking=False):
            try:
                self._capture.release()
            finally:
                self._lock.release()
