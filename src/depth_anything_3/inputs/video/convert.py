"""Convert PyAV frames to upright RGB arrays."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import VideoReadError

__all__ = ["FrameConverter"]

logger = logging.getLogger(__name__)

UInt8Array = npt.NDArray[np.uint8]

_HDR = {16: "PQ", 18: "HLG"}  # H.273 transfer characteristics
_FLIPS = {(False, True): 0, (True, False): 1, (True, True): -1}  # (columns, rows) as OpenCV numbers them


class FrameConverter:
    """Convert the frames of one video. Colours follow each frame's own matrix and range.

    Args:
        first: the first frame, which defines the rotation.
        label: name of the video in messages.
        pixel_ratio: width of a pixel over its height; None means square.

    Attributes:
        plain: whether frames need neither rotation nor stretching.
        size_hw: (height, width) of the converted first frame.
    """

    def __init__(self, first: Any, label: str, pixel_ratio: Fraction | None) -> None:  # Any: PyAV is optional
        from av.video.reformatter import VideoReformatter

        self._label = label
        self._reformatter = VideoReformatter()
        self._pixel_ratio = pixel_ratio or Fraction(1)
        matrix = _display_matrix(first, label)
        self._rotate = _rotate(matrix)
        self.plain = self._rotate is None and self._pixel_ratio == 1
        height, width = self._square(first)
        self.size_hw = (height, width) if matrix[0] else (width, height)
        if first.color_trc in _HDR:
            logger.warning(
                "%s: HDR (%s) is converted without tone mapping; contrast is low", label, _HDR[first.color_trc]
            )
        if first.interlaced_frame:
            logger.warning("%s: interlaced; moving edges show combing. Deinterlace it first for clean depth", label)

    def __call__(self, frame: Any) -> UInt8Array:
        """Convert a frame to (H, W, 3) uint8 RGB, upright, with square pixels.

        Raises:
            VideoReadError: the pixel format or colour space is not supported.
        """
        height, width = self._square(frame)
        try:
            rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24")
        except (OSError, ValueError) as error:
            raise VideoReadError(
                f"{self._label}: colours ({frame.format.name}, matrix {frame.colorspace}) cannot be converted; "
                "re-encode it as yuv420p in BT.709"
            ) from error
        # A view of the new frame's memory; no copy if its rows are contiguous.
        plane: Any = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8)[: height * plane.line_size].reshape(height, plane.line_size)
        image = rows[:, : 3 * width].reshape(height, width, 3)
        return image if self._rotate is None else self._rotate(image)

    def _square(self, frame: Any) -> tuple[int, int]:
        """Return (height, width) of a frame with square pixels: the shorter side is stretched."""
        ratio = self._pixel_ratio
        if ratio > 1:
            return frame.height, round(frame.width * ratio)
        return round(frame.height / ratio), frame.width


def _display_matrix(frame: Any, label: str) -> tuple[int, int, int, int]:
    """Return signs a, b, c, d of the nearest quarter rotation: (x, y) is displayed at (ax + cy, bx + dy)."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError as error:  # PyAV knows fewer kinds of side data than FFmpeg: a JPEG's EXIF block, for one
        raise VideoReadError(f"{label}: PyAV cannot read how it is rotated; for an image, use `depth()`") from error
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) >= abs(b):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if b >= 0 else -1), (1 if c >= 0 else -1), 0


def _rotate(matrix: tuple[int, int, int, int]) -> Callable[[UInt8Array], UInt8Array] | None:
    a, b, c, d = matrix
    flip = _FLIPS.get((a + c < 0, b + d < 0))
    if a and flip is None:
        return None

    def rotate(image: UInt8Array) -> UInt8Array:
        oriented = image if a else cv2.transpose(image)
        return np.asarray(oriented if flip is None else cv2.flip(oriented, flip), np.uint8)

    return rotate
