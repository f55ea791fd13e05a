"""Read raw frames without a container from a pipe or file."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, VideoDecodeError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.iterable import DEFAULT_FPS
from depth_anything_3.inputs.video.selection import FrameSelection

__all__ = ["RawSource"]

logger = logging.getLogger(__name__)

UInt8Array = npt.NDArray[np.uint8]

_LAYOUT = re.compile(r"(\d+)x(\d+):(\w+)(?:@(\d+(?:\.\d+)?)(?:/(\d+))?)?")


class _Format(NamedTuple):
    """Samples per pixel, and the conversion of a frame to RGB."""

    samples: float
    to_rgb: Callable[[UInt8Array, int, int], UInt8Array]


def _from_yuv(data: UInt8Array, height: int, width: int) -> UInt8Array:
    return np.asarray(cv2.cvtColor(data.reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_I420), np.uint8)


_FORMATS = {
    "rgb24": _Format(3, lambda data, height, width: data.reshape(height, width, 3)),
    "bgr24": _Format(3, lambda data, height, width: data.reshape(height, width, 3)[..., ::-1]),
    "gray": _Format(1, lambda data, height, width: np.repeat(data.reshape(height, width, 1), 3, axis=2)),
    "yuv420p": _Format(1.5, _from_yuv),
}


class RawSource(FrameSource):
    """Frames of raw pixels, such as from `ffmpeg -f rawvideo -`.

    Args:
        file: binary file or pipe; it is not closed.
        layout: "WIDTHxHEIGHT:FORMAT@FPS", such as "640x480:rgb24@30"; FPS may be a fraction ("30000/1001") or omitted.
            Formats: rgb24, bgr24, gray, yuv420p (BT.601, limited range).
        selection: which frames to return.
        rate: frames per second if the layout has none.
        on_error: "raise" if the last frame is incomplete, or "skip" it with a warning.

    Raises:
        InvalidInputError: the layout is not valid.
    """

    def __init__(
        self,
        file: BinaryIO,
        layout: str,
        selection: FrameSelection | None = None,
        *,
        rate: float | None = None,
        on_error: OnError = OnError.RAISE,
    ) -> None:
        match = _LAYOUT.fullmatch(layout.strip())
        if match is None or match[3] not in _FORMATS:
            raise InvalidInputError(
                f"raw={layout!r}: give WIDTHxHEIGHT:FORMAT@FPS, such as 640x480:rgb24@30; "
                f"formats: {', '.join(_FORMATS)}"
            )
        self._width, self._height = int(match[1]), int(match[2])
        self._format = _FORMATS[match[3]]
        odd = self._width % 2 or self._height % 2
        if not self._width or not self._height or (odd and match[3] == "yuv420p"):
            raise InvalidInputError(f"raw={layout!r}: width and height must be positive, and even for yuv420p")
        self._rate = float(match[4]) / float(match[5] or 1) if match[4] else rate or DEFAULT_FPS
        self._file, self._on_error = file, on_error
        self._selection = selection or FrameSelection()
        self._stopped = threading.Event()
        size = (self._height, self._width)
        self.info = SourceInfo(f"raw frames ({layout})", DecoderChoice("none", "raw frames"), size, self._rate)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise VideoDecodeError if the last frame is incomplete, unless `on_error` is "skip"."""
        size, index, selector = int(self._width * self._height * self._format.samples), 0, self._selection.selector(0.0)
        while not self._stopped.is_set():
            data = np.empty(size, np.uint8)
            got = self._fill(data)
            if 0 < got < size:
                text = (
                    f"{self.info.label}: frame {index} is incomplete ({got:,} of {size:,} bytes); check the frame size"
                )
                if self._on_error is OnError.RAISE:
                    raise VideoDecodeError(text)
                logger.warning("%s", text)
            if got < size:
                selector.check_start(self.info.label, index / self._rate)
                return
            if selector.is_past(index / self._rate):
                return
            if selector.selects(index / self._rate):
                image = self._format.to_rgb(data, self._height, self._width)
                yield Frame(image, index / self._rate, index, time.monotonic())
            index += 1

    def close(self) -> None:
        """End an iteration in progress after its current read."""
        self._stopped.set()

    def _fill(self, data: UInt8Array) -> int:
        """Read until the buffer is full or the file ends; return the number of bytes read."""
        got, view = 0, memoryview(data)  # type: ignore[arg-type]  # stubs know that arrays are buffers from Python 3.12 on
        into = getattr(self._file, "readinto", None)  # available on most files; avoids a copy of each frame
        while got < len(data):
            if into is not None:
                count = into(view[got:]) or 0
            else:
                part = self._file.read(len(data) - got)
                count = len(part)
                view[got : got + count] = part
            if not count:
                break
            got += count
        return got
