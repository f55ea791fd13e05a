"""Decode PNG, WebP, and JPEGs that simplejpeg does not support, with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode", "supports"]

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# The greyscale flags, because the reduced colour flags also imply BGR.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MAX_CHUNKS = 200_000  # at libpng's 8 kB per chunk, more than MAX_BYTES


def supports(header: ImageHeader) -> bool:
    """Whether OpenCV returns the same pixels as Pillow for this format.

    Excluded are CMYK JPEGs and 5-6-5 BMPs (one 8-bit level off), and TIFF and GIF (orientation and frames are handled
    differently). 16-bit PNGs are included: OpenCV scales them, where Pillow would clip.
    """
    if header.jpeg:
        return header.jpeg.components in (1, 3)
    return header.format in ("PNG", "WEBP")


def decode(data: Buffer, header: ImageHeader, reduced_by: int = 1) -> npt.NDArray[np.uint8] | None:
    """Return (H, W, 3) uint8 RGB as stored, or None if OpenCV cannot decode the file (truncated JPEGs among them).

    With `reduced_by` 2, 4 or 8, a JPEG is decoded at that fraction of its size (rounded up), directly from its blocks.
    """
    file = _still_png(memoryview(data)) if header.format == "PNG" else data
    try:
        pixels = None if file is None else cv2.imdecode(np.frombuffer(file, np.uint8), _FLAGS | _REDUCED[reduced_by])
    except cv2.error:
        return None
    return pixels if pixels is None else np.asarray(pixels, np.uint8)


def _still_png(data: memoryview) -> Buffer | None:
    """Return a PNG without its animation chunks, or None if its chunks are truncated, unterminated or too many.

    OpenCV allocates as much memory as a chunk claims, and some damaged animations crash the process (5.0).
    """
    chunks, animated, at = [data[:8]], False, 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            return None
        end, kind = at + 12 + int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if end > len(data):
            return None
        if kind in _ANIMATION:
            animated = True
        else:
            chunks.append(data[at:end])
        if kind == b"IEND":
            return b"".join(chunks) if animated else data
        at = end
    return None
