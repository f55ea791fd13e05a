"""Decode WebP with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode", "supports"]

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def supports(header: ImageHeader) -> bool:
    """Whether OpenCV returns the same pixels as Pillow for this format, and prints nothing about damaged files.

    It prints libjpeg's and libpng's messages; 5-6-5 BMPs are one level off; TIFF and GIF differ in orientation, frames
    and planes.
    """
    return header.format == "WEBP"


def decode(data: Buffer) -> Decoded | None:
    """Return an image as stored, or None if OpenCV cannot decode the file."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        return None
    return None if pixels is None else Decoded(np.asarray(pixels, np.uint8))
