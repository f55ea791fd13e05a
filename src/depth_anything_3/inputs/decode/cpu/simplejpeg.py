"""Decode complete JPEGs with simplejpeg (libjpeg-turbo), the fastest CPU decoder measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["damage", "decode", "supports", "warning_of"]

_CORRUPT = "Corrupt JPEG data: "
_NONSTANDARD = (
    "Inconsistent progression sequence",
    "Invalid SOS parameters",
    "Unknown Adobe color transform",
    "Warning: unknown JFIF revision",
)


def supports(header: ImageHeader) -> bool:
    """Whether simplejpeg decodes this file: complete grey and colour JPEGs."""
    return header.jpeg is not None and header.jpeg.complete and header.jpeg.components in (1, 3)


def decode(
    data: Buffer, header: ImageHeader, reduced_by: int = 1, memory: npt.NDArray[np.uint8] | None = None
) -> Decoded | None:
    """Return an image as stored, with what libjpeg warned of, or None if the file cannot be decoded or is truncated.

    Args:
        data: complete encoded file.
        header: header from `probe`, for which `supports` is true.
        reduced_by: 2, 4 or 8 decodes directly from the blocks at that fraction of the size, rounded up.
        memory: contiguous uint8 buffer to decode into; ignored if it is too small.
    """
    height, width = (-(-side // reduced_by) for side in header.stored_hw)
    size = 3 * height * width
    memory = None if memory is None or memory.size < size else memory[:size]
    warnings: tuple[str, ...] = ()
    for strict in (True, False):  # strict raises where libjpeg warns
        try:
            # simplejpeg takes a minimum size, not a factor.
            pixels = simplejpeg.decode_jpeg(
                data, "RGB", min_height=height, min_width=width, buffer=memory, strict=strict
            )
        except (ValueError, RuntimeError) as error:  # damaged, or a chroma sampling that TurboJPEG does not support
            warnings = warning_of(error)
            if not warnings:
                return None
        else:
            return Decoded(np.asarray(pixels, np.uint8), warnings)
    return None


def damage(data: Buffer) -> tuple[str, ...]:
    """Return what libjpeg warns of when it decodes a CMYK or YCCK file, which Pillow keeps to itself."""
    try:
        simplejpeg.decode_jpeg(data, "CMYK", min_factor=8)
    except (ValueError, RuntimeError) as error:
        return warning_of(error)
    return ()


def warning_of(error: Exception) -> tuple[str, ...]:
    """Put one of libjpeg's warnings about decodable files into words; empty for errors, and for truncated files."""
    text = str(error)
    if text.startswith(_CORRUPT):
        return (f"damaged JPEG, part of which may be wrong ({text.removeprefix(_CORRUPT)})",)
    if text.startswith(_NONSTANDARD):
        return (f"JPEG that does not follow the standard, and may be wrong ({text.removeprefix('Warning: ')})",)
    return ()
