"""Decode complete JPEGs with simplejpeg (libjpeg-turbo), the fastest CPU decoder measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode", "supports"]


def supports(header: ImageHeader) -> bool:
    """Whether simplejpeg decodes this file: complete grey and colour JPEGs."""
    return header.jpeg is not None and header.jpeg.complete and header.jpeg.components in (1, 3)


def decode(
    data: Buffer, header: ImageHeader, reduced_by: int = 1, memory: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8] | None:
    """Return (H, W, 3) uint8 RGB as stored, or None if the file is damaged.

    Args:
        data: complete encoded file.
        header: header from `probe`, for which `supports` is true.
        reduced_by: 2, 4 or 8 decodes directly from the blocks at that fraction of the size, rounded up.
        memory: contiguous uint8 buffer to decode into; ignored if it is too small.
    """
    height, width = (-(-side // reduced_by) for side in header.stored_hw)
    size = 3 * height * width
    memory = None if memory is None or memory.size < size else memory[:size]
    try:
        # simplejpeg takes a minimum size, not a factor.
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, buffer=memory)
    except (ValueError, RuntimeError):  # damaged, or a chroma sampling that TurboJPEG does not support
        return None
    return np.asarray(pixels, np.uint8)
