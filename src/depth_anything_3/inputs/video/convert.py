"""Convert PyAV frames to upright RGB arrays, or hand over their planes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import VideoReadError
from depth_anything_3.inputs.video.colors import PIXEL_FORMATS, ColorConversion, measure_conversion
from depth_anything_3.inputs.video.display_matrix import DisplayMatrix, DisplayMatrixReader
from depth_anything_3.inputs.yuv_planes import YuvPlanes

__all__ = ["FrameConverter"]

logger = logging.getLogger(__name__)

UInt8Array = npt.NDArray[np.uint8]

_HDR = {16: "PQ", 18: "HLG"}  # H.273 transfer characteristics
_FLIPS = {(False, True): 0, (True, False): 1, (True, True): -1}  # (columns, rows) as OpenCV numbers them
_EXIF = {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}  # likewise; 4 more if transposed


class FrameConverter:
    """Convert the frames of one video. Colours and rotation follow each frame's own matrices and range.

    Args:
        first: the first frame.
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
        self._lock = threading.Lock()  # planes are converted in the threads that use them
        self._conversions: dict[tuple[object, ...], ColorConversion | None] = {}
        self._pixel_ratio = pixel_ratio or Fraction(1)
        self._display_matrix = DisplayMatrixReader()
        matrix = self._display_matrix(first)
        self.plain = _rotation(matrix) is None and self._pixel_ratio == 1
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
            with self._lock:
                rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24")
        except (OSError, ValueError) as error:
            raise VideoReadError(
                f"{self._label}: colours ({frame.format.name}, matrix {frame.colorspace}) cannot be converted; "
                "re-encode it as yuv420p in BT.709"
            ) from error
        # A view of the new frame's memory; no copy if its rows are contiguous.
        image = _rows(rgb.planes[0])[:, : 3 * width].reshape(height, width, 3)
        rotate = _rotation(self._display_matrix(frame))
        return image if rotate is None else rotate(image)

    def planes(self, frame: Any) -> YuvPlanes | None:
        """Return the planes of a frame, without a copy. The frame's memory is released with them.

        Returns:
            None unless it is of 8-bit 4:2:0, of even height and width, with square pixels.
        """
        if frame.format.name not in PIXEL_FORMATS or self._pixel_ratio != 1 or frame.height % 2 or frame.width % 2:
            return None
        coding = frame.format.name, frame.colorspace, frame.color_range
        if coding not in self._conversions:
            with self._lock:
                self._conversions[coding] = measure_conversion(frame, self._reformatter)
        conversion = self._conversions[coding]
        if conversion is None:
            return None
        luma, *chroma = (_rows(plane) for plane in frame.planes)
        a, b, c, d = self._display_matrix(frame)
        return YuvPlanes(
            stored_hw=(frame.height, frame.width),
            luma=luma,
            chroma=tuple(chroma),
            colors=conversion.matrix,
            linear_rows=conversion.linear_rows,
            orientation=_EXIF[a + c < 0, b + d < 0] + (0 if a else 4),
            convert=partial(self, frame),
        )

    def _square(self, frame: Any) -> tuple[int, int]:
        """Return (height, width) of a frame with square pixels: the shorter side is stretched."""
        ratio = self._pixel_ratio
        if ratio > 1:
            return frame.height, round(frame.width * ratio)
        return round(frame.height / ratio), frame.width


def _rows(plane: Any) -> UInt8Array:
    """Return the rows of a plane of one byte a sample, with their padding."""
    return np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)


def _rotation(matrix: DisplayMatrix) -> Callable[[UInt8Array], UInt8Array] | None:
    a, b, c, d = matrix
    flip = _FLIPS.get((a + c < 0, b + d < 0))
    if a and flip is None:
        return None

    def rotate(image: UInt8Array) -> UInt8Array:
        oriented = image if a else cv2.transpose(image)
        return np.asarray(oriented if flip is None else cv2.flip(oriented, flip), np.uint8)

    return rotate
