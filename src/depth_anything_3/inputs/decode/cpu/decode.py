"""Decode image files to uint8 RGB on the CPU.

Every backend reconstructs JPEG chroma as libjpeg does, so all of them return the reference's pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.decode.cpu import opencv, pillow, png, pnm, simplejpeg, tiff
from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.decode.cpu.jpeg2000 import signed_bits
from depth_anything_3.inputs.header import Buffer, ImageHeader

__all__ = ["Decoded", "decode"]


def decode(
    data: Buffer,
    header: ImageHeader,
    label: str,
    *,
    reduced_by: int = 1,
    allow_truncated: bool = False,
    memory: npt.NDArray[np.uint8] | None = None,
) -> Decoded:
    """Decode an image file on the CPU without applying its orientation.

    simplejpeg decodes JPEG, OpenCV WebP, this package PNG, TIFF and PPM, with the pixels of Pillow, the reference's
    decoder, except that samples of more than 8 bits are scaled and rounded. Pillow decodes the rest.

    Args:
        data: complete encoded file.
        header: header from `probe`.
        label: name of the image in errors.
        reduced_by: 2, 4 or 8 decodes a JPEG at 1/2, 1/4 or 1/8 of its size, rounded up; each sample is then the mean of
            a square. Formats that Pillow decodes are always decoded at full size.
        allow_truncated: decode a truncated or damaged file as far as possible, with a warning.
        memory: contiguous uint8 buffer that JPEGs may be decoded into, to avoid allocating new pages.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, of the header's size or that size divided by `reduced_by`, rounded up; and what
        the decoder warned of. Alpha is dropped, not blended; samples of other ranges are scaled to 0 to 255 and
        rounded; of several frames, the first is returned, of a TIFF's pages the first that is not a reduced copy.

    Raises:
        ImageDecodeError: the file is truncated or damaged, or no backend supports it.
    """
    decoded = _decode(data, header, label, reduced_by, allow_truncated, memory)
    if decoded is None:  # Pillow supports more formats, and reports what is damaged
        decoded = pillow.decode(data, label, allow_truncated=allow_truncated)
        if header.jpeg is not None and header.jpeg.components == 4 and not decoded.warnings:
            decoded = Decoded(decoded.pixels, simplejpeg.damage(data))
        if header.format == "PNG" and not allow_truncated:  # Pillow silently leaves missing rows black
            raise ImageDecodeError(f"{label}: damaged PNG (a checksum is wrong, or data is missing). {pillow.HINT}")
    height, width = header.stored_hw
    shape = decoded.pixels.shape
    if shape[:2] not in (header.stored_hw, (-(-height // reduced_by), -(-width // reduced_by))):
        raise ImageDecodeError(f"{label}: its header says {width}x{height}, its data {shape[1]}x{shape[0]}")
    return decoded


def _decode(
    data: Buffer,
    header: ImageHeader,
    label: str,
    reduced_by: int,
    allow_truncated: bool,
    memory: npt.NDArray[np.uint8] | None,
) -> Decoded | None:
    """Decode with the backend of this format; return None if there is none, or it cannot decode the file."""
    if simplejpeg.supports(header):
        return simplejpeg.decode(data, header, reduced_by, memory)
    if opencv.supports(header):
        return opencv.decode(data)
    if header.format == "PNG":
        return png.decode(data, label)
    if header.format == "TIFF":
        return tiff.decode(data, label, allow_truncated=allow_truncated)
    if header.format == "PPM":
        return pnm.decode(data, label, allow_truncated=allow_truncated)
    bits = signed_bits(data) if header.format == "JPEG2000" else None
    if bits is not None:  # Pillow would add half their range
        raise ImageDecodeError(
            f"{label}: signed {bits}-bit samples have no fixed range; scale the image to 8 or 16 bits first"
        )
    return None
