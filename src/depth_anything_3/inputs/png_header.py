"""Read the size and the colours of a PNG."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.pillow_open import Buffer

__all__ = ["PNG_START", "PngHeader", "read_png_header"]

PNG_START = b"\x89PNG\r\n\x1a\n"

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@dataclass(frozen=True)
class PngHeader:
    """The first chunk of a PNG.

    Attributes:
        hw: (height, width).
        bits: bits per sample.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        interlaced: whether the pixels come in the seven passes of Adam7.
    """

    hw: tuple[int, int]
    bits: int
    colour_type: int
    interlaced: bool

    @property
    def channels(self) -> int:
        """Samples per pixel as stored."""
        return _CHANNELS[self.colour_type]


def read_png_header(data: Buffer, label: str) -> PngHeader:
    """Read the first chunk of a file that begins with `PNG_START`.

    Raises:
        ImageDecodeError: the chunk is truncated or damaged.
    """
    chunk = bytes(data[8:33])
    if chunk[4:8] == b"CgBI":
        raise ImageDecodeError(f"{label}: PNG in Apple's own variant (CgBI) is not supported; convert it to PNG")
    if len(chunk) < 25 or chunk[:8] != b"\0\0\0\rIHDR":
        raise ImageDecodeError(f"{label}: truncated or damaged PNG: no header in its {len(data):,} bytes")
    width, height, bits, colour_type, compression, filters, interlaced = struct.unpack(">IIBBBBB", chunk[8:21])
    valid = bits in _DEPTHS.get(colour_type, ()) and not compression and not filters and interlaced in (0, 1)
    if zlib.crc32(chunk[4:21]) != int.from_bytes(chunk[21:], "big") or not valid:
        raise ImageDecodeError(f"{label}: damaged PNG: its header is wrong")
    return PngHeader((height, width), bits, colour_type, bool(interlaced))
