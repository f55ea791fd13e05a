"""The bytes of an image file in, uint8 RGB pixels as stored out. One file a backend.

Every backend here reconstructs JPEG chroma as libjpeg does, so all are exact: they give the reference's pixels.
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
    """Decode an image file on the CPU, leaving its orientation alone.

    simplejpeg and OpenCV read what they read as Pillow, the reference's decoder, does; Pillow reads the rest.

    Args:
        data: the whole encoded file.
        header: what `probe` said of it.
        label: how errors name it.
        reduced_by: 2, 4 or 8 decodes a JPEG at that part of its size, rounded up; each sample is then the mean of a
            square. What Pillow reads is decoded at full size whatever is asked for.
        allow_truncated: decode a cut or damaged file as far as it goes, with a warning.
        memory: uint8, contiguous: JPEGs may be decoded into it, so that no new pages are taken from the system.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, with (H, W) as the header says, or that divided and rounded up. Alpha is
        dropped, not blended; 16-bit samples are scaled to 8 bits; of several frames the first is taken.

    Raises:
        ImageDecodeError: truncated, damaged, or of a kind that no backend reads.
    """
    pixels = simplejpeg.decode(data, header, reduced_by, memory) if simplejpeg.reads(header) else None
    if pixels is None and opencv.reads(header):
        pixels = opencv.decode(data, header, reduced_by)
    if pixels is None:  # Pillow reads more kinds, and says what is wrong with a damaged one
        pixels = pillow.decode(data, label, allow_truncated=allow_truncated)
        if header.format == "PNG" and not allow_truncated:  # Pillow leaves missing rows black, without a word
            raise ImageDecodeError(
                f"{label}: damaged PNG (a checksum is wrong, or something is missing). {pillow.CURE}"
            )
    height, width = header.stored_hw
    if pixels.shape[:2] not in (header.stored_hw, (-(-height // reduced_by), -(-width // reduced_by))):
        raise ImageDecodeError(
            f"{label}: its header says {width}x{height}, its data {pixels.shape[1]}x{pixels.shape[0]}"
        )
    return pixels
