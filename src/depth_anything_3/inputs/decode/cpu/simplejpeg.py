"""simplejpeg's decoder for whole JPEGs: libjpeg-turbo, into memory that the caller keeps. The fastest one measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode", "reads"]


def reads(header: ImageHeader) -> bool:
    """Whether it may be asked: for whole grey and colour JPEGs."""
    return header.jpeg is not None and header.jpeg.complete and header.jpeg.components in (1, 3)


def decode(
    data: Buffer, header: ImageHeader, reduced_by: int = 1, memory: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB as stored, or None if it finds anything wrong with the file.

    Args:
        data: the whole encoded file.
        header: what `probe` said of it; `reads` holds.
        reduced_by: 2, 4 or 8 decodes straight from the blocks to that part of the size, rounded up.
        memory: uint8, contiguous, to decode into; not used if it is too small.
    """
    height, width = (-(-side // reduced_by) for side in header.stored_hw)
    size = 3 * height * width
    memory = None if memory is None or memory.size < size else memory[:size]
    try:
        # It takes the least size that is wanted, not a factor.
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, buffer=memory)
    except (ValueError, RuntimeError):  # damaged, or of a sampling that TurboJPEG does not know
        return None
    return np.asarray(pixels, np.uint8)
