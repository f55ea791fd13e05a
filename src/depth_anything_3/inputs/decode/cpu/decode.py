"""Decode image files to uint8 RGB on the CPU.

Every backend reconstructs JPEG chroma as libjpeg does, so all of them return the reference's pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.decode.cpu import opencv, pillow, simplejpeg
from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["decode"]


def decode(
    data: Buffer,
    header: ImageHeader,
    label: str,
    *,
    reduced_by: int = 1,
    allow_truncated: bool = False,
    memory: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode an image file on the CPU without applying its orientation.

    simplejpeg and OpenCV decode the formats where they match Pillow, the reference's decoder; Pillow decodes the rest.

    Args:
        data: complete encoded file.
        header: header from `probe`.
        label: name of the image in errors.
        reduced_by: 2, 4 or 8 decodes a JPEG at 1/2, 1/4 or 1/8 of its size, rounded up; each sample is then the mean of
            a square. Formats that Pillow decodes are always decoded at full size.
        allow_truncated: decode a truncated or damaged file as far as possible, with a warning.
        memory: contiguous uint8 buffer that JPEGs may be decoded into, to avoid allocating new pages.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, of the header's size or that size divided by `reduced_by`, rounded up. Alpha is
        dropped, not blended; 16-bit samples are scaled to 8 bits; of several frames, the first is returned.

    Raises:
        ImageDecodeError: the file is truncated or damaged, or no backend supports it.
    """
    pixels = simplejpeg.decode(data, header, reduced_by, memory) if simplejpeg.supports(header) else None
    if pixels is None and opencv.supports(header):
        pixels = opencv.decode(data, header, reduced_by)
    if pixels is None:  # Pillow supports more formats, and reports what is damaged
        pixels = pillow.decode(data, label, allow_truncated=allow_truncated)
        if header.format == "PNG" and not allow_truncated:  # Pillow silently leaves missing rows black
            raise ImageDecodeError(f"{label}: damaged PNG (a checksum is wrong, or data is missing). {pillow.HINT}")
    height, width = header.stored_hw
    if pixels.shape[:2] not in (header.stored_hw, (-(-height // reduced_by), -(-width // reduced_by))):
        raise ImageDecodeError(
            f"{label}: its header says {width}x{height}, its data {pixels.shape[1]}x{pixels.shape[0]}"
        )
    return pixels
