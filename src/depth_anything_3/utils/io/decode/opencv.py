"""OpenCV's decoders: the fastest of the default install, and free of the interpreter lock while they work."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.utils.io.header import Buffer, ImageHeader

__all__ = ["decode", "reads"]

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# The flags for reduced grey: those for reduced colour would also ask for BGR.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def reads(header: ImageHeader, data: Buffer) -> bool:
    """Whether OpenCV gives the same pixels as Pillow for this kind of file.

    Not for CMYK JPEGs and 5-6-5 BMPs (a level off), nor for TIFF and GIF (orientation and frames are handled
    differently); 16-bit PNGs it scales where Pillow would clip. Nor for animated PNGs: some that are damaged end the
    process (OpenCV 5.0).
    """
    if header.jpeg:
        return header.jpeg.components in (1, 3)
    if header.format == "PNG":
        return b"acTL" not in (_chunk_kinds(data) or ())
    return header.format == "WEBP"


def decode(data: Buffer, header: ImageHeader, reduced_by: int = 1) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB as stored, or None if OpenCV cannot read it (truncated JPEGs among them).

    A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (rounded up), straight from its blocks.
    """
    if header.format == "PNG" and _chunk_kinds(data) is None:  # OpenCV takes as much memory as a chunk claims
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS | _REDUCED[reduced_by])
    except cv2.error:
        return None
    return pixels if pixels is None else np.asarray(pixels, np.uint8)


def _chunk_kinds(data: Buffer) -> set[bytes] | None:
    """The kinds of a PNG's chunks, or None if they do not lie within the file, or do not end."""
    view, kinds, at = memoryview(data), set(), 8
    while at + 12 <= len(view):
        size, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        kinds.add(kind)
        at += 12 + size
        if kind == b"IEND" and at <= len(view):
            return kinds
    return None
