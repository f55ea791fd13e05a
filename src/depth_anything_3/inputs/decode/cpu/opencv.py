"""OpenCV's decoders: for PNG, WebP, and JPEGs that simplejpeg does not take."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode", "reads"]

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# The flags for reduced grey: those for reduced colour would also ask for BGR.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MAX_CHUNKS = 200_000  # of 8 kB as libpng writes them, more than MAX_BYTES


def reads(header: ImageHeader) -> bool:
    """Whether OpenCV gives the same pixels as Pillow for this kind of file.

    Not for CMYK JPEGs and 5-6-5 BMPs (a level off), nor for TIFF and GIF (orientation and frames are handled
    differently); 16-bit PNGs it scales where Pillow would clip.
    """
    if header.jpeg:
        return header.jpeg.components in (1, 3)
    return header.format in ("PNG", "WEBP")


def decode(data: Buffer, header: ImageHeader, reduced_by: int = 1) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB as stored, or None if OpenCV cannot read it (truncated JPEGs among them).

    A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (rounded up), straight from its blocks.
    """
    file = _still_png(memoryview(data)) if header.format == "PNG" else data
    try:
        pixels = None if file is None else cv2.imdecode(np.frombuffer(file, np.uint8), _FLAGS | _REDUCED[reduced_by])
    except cv2.error:
        return None
    return pixels if pixels is None else np.asarray(pixels, np.uint8)


def _still_png(data: memoryview) -> Buffer | None:
    """A PNG without its animation, or None if its chunks do not lie within the file, do not end, or are too many.

    OpenCV takes as much memory as a chunk claims, and some damaged animations end the process (5.0).
    """
    kept, animated, at = [data[:8]], False, 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            return None
        end, kind = at + 12 + int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if end > len(data):
            return None
        if kind in _ANIMATION:
            animated = True
        else:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept) if animated else data
        at = end
    return None
