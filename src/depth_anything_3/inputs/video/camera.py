"""Read frames from a camera with OpenCV."""

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
    """Frames of a camera, with their arrival times.

    Args:
        name: camera index or, on Linux, device file, such as "/dev/video0".
        selection: which frames to return.

    Raises:
        VideoReadError: the camera does not exist, or another program uses it.
    """

    def __init__(self, name: str, selection: FrameSelection | None = None) -> None:
        self._selection = selection or FrameSelection()
        self._lock = threading.Lock()  # held while waiting for a frame
        self._stopped = threading.Event()
        self._label = f"camera {name}"
        self._capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
        if not self._capture.isOpened():
            raise VideoReadError(
                f"{self._label}: cannot be opened; check that it is plugged in, not in use, and readable by this user. "
                "On Linux, `ls /dev/video*` lists cameras"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one queued in the driver
        size = (int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
        self.info = SourceInfo(
            self._label,
            DecoderChoice("opencv", "cameras are read by OpenCV"),
            size if all(size) else None,
            float(self._capture.get(cv2.CAP_PROP_FPS)) or None,
            live=True,
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise VideoReadError when the camera delivers no more."""
        selector, first, index = self._selection.selector(0.0), None, 0
        while not self._stopped.is_set():
            with self._lock:
                ok, image = self._capture.read() if not self._stopped.is_set() else (False, None)
            now = time.monotonic()
            if self._stopped.is_set():  # `close` may have come while this thread was waiting
                break
            if not ok or image is None:
                raise VideoReadError(f"{self._label}: delivers no more frames; was it unplugged?")
            first = now if first is None else first
            if selector.is_past(now - first):
                break
            if selector.selects(now - first):
                yield Frame(np.asarray(image, np.uint8)[..., ::-1], now - first, index, now)
            index += 1
        self.close()

    def close(self) -> None:
        """Release the camera; an iteration in another thread does so after its current frame."""
        self._stopped.set()
        if self._lock.acquire(blocking=False):
            try:
                self._capture.release()
            finally:
                self._lock.release()
