"""The bytes of an image file in, what its header says out: format, size, orientation, JPEG coding. No pixels."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from enum import Enum

from PIL import Image, UnidentifiedImageError

from depth_anything_3.errors import ImageDecodeError, ImageSizeError

__all__ = ["MAX_PIXELS", "ImageHeader", "JpegCoding", "JpegProcess", "probe"]

MAX_PIXELS = 178_956_970
"""Pictures whose header claims more are refused before any decoder sees them (the bound Pillow uses)."""

Buffer = bytes | bytearray | memoryview


class JpegProcess(str, Enum):
    """How a JPEG's coefficients are coded; hardware decoders take `BASELINE` only."""

    BASELINE = "baseline"
    EXTENDED = "extended sequential"
    PROGRESSIVE = "progressive"
    LOSSLESS = "lossless"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True)
class JpegCoding:
    """What a decoder has to cope with in a JPEG.

    Attributes:
        process: kind of coding, from the frame header.
        bits: sample precision, nearly always 8.
        sampling: (horizontal, vertical) factors per component; ((2, 2), (1, 1), (1, 1)) is 4:2:0.
    """

    process: JpegProcess
    bits: int
    sampling: tuple[tuple[int, int], ...]

    @property
    def components(self) -> int:
        """1 grey, 3 colour, 4 CMYK or YCCK."""
        return len(self.sampling)


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an encoded image says.

    Attributes:
        format: "JPEG", "PNG", ... as Pillow names it.
        stored_hw: (height, width) as stored, before any turn.
        exif_orientation: 1 to 8; 1 where there is none or it makes no sense.
        jpeg: the coding, for a JPEG.
    """

    format: str
    stored_hw: tuple[int, int]
    exif_orientation: int
    jpeg: JpegCoding | None = None


def probe(data: Buffer, label: str) -> ImageHeader:
    """Read an image's header.

    Args:
        data: the whole encoded file.
        label: how errors name it.

    Raises:
        ImageDecodeError: not a picture of a known format, or its header is damaged.
        ImageSizeError: it claims more than `MAX_PIXELS`.
    """
    if bytes(data[:3]) == b"\xff\xd8\xff":
        header = _probe_jpeg(memoryview(data), label)
    else:
        header = _probe_with_pillow(data, label)
    height, width = header.stored_hw
    if height * width > MAX_PIXELS:
        raise ImageSizeError(f"{label}: claims {width}x{height} pixels, more than the {MAX_PIXELS:,} that are decoded")
    return header


def _probe_with_pillow(data: Buffer, label: str) -> ImageHeader:
    try:
        with Image.open(io.BytesIO(data)) as image:
            # Pillow turns TIFFs by itself while decoding and reports their upright size.
            exif = b"" if image.format == "TIFF" else image.info.get("exif", b"")
            return ImageHeader(image.format or "unknown", (image.height, image.width), read_orientation(exif))
    except Image.DecompressionBombError:
        raise ImageSizeError(f"{label}: claims more than the {MAX_PIXELS:,} pixels that are decoded") from None
    except UnidentifiedImageError:
        raise ImageDecodeError(
            f"{label}: not an image of a known format (it starts with {bytes(data[:12])!r})"
        ) from None
    except Exception as error:  # Pillow's readers raise almost anything on a damaged header
        raise ImageDecodeError(f"{label}: damaged image header ({error})") from error


_FRAME_MARKERS = {
    0xC0: JpegProcess.BASELINE,
    0xC1: JpegProcess.EXTENDED,
    0xC2: JpegProcess.PROGRESSIVE,
    0xC3: JpegProcess.LOSSLESS,
    0xC9: JpegProcess.ARITHMETIC,
    0xCA: JpegProcess.ARITHMETIC,
    0xCB: JpegProcess.ARITHMETIC,
}
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def _probe_jpeg(data: memoryview, label: str) -> ImageHeader:
    exif: memoryview | None = None
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1  # decoders skip stray bytes between segments
            continue
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _STANDALONE or marker == 0:
            position += 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if marker == _APP1 and exif is None and bytes(segment[:6]) == b"Exif\0\0":
            exif = segment
        elif marker in _FRAME_MARKERS:
            # Exif may legally follow the frame header, but no decoder looks there.
            return _frame(segment, _FRAME_MARKERS[marker], read_orientation(exif or b""), label)
        position += 2 + max(length, 2)
    raise ImageDecodeError(f"{label}: truncated or damaged JPEG: no frame header in its {len(data):,} bytes")


def _frame(segment: memoryview, process: JpegProcess, orientation: int, label: str) -> ImageHeader:
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise ImageDecodeError(f"{label}: truncated or damaged JPEG: its frame header is cut")
    bits, height, width, components = struct.unpack(">BHHB", segment[:6])
    if not (height and width and components):
        raise ImageDecodeError(f"{label}: damaged JPEG: its header says {width}x{height} with {components} components")
    factors = (segment[7 + 3 * index] for index in range(components))
    sampling = tuple((factor >> 4, factor & 15) for factor in factors)
    return ImageHeader("JPEG", (height, width), orientation, JpegCoding(process, bits, sampling))


def read_orientation(exif: Buffer) -> int:
    """The orientation in an Exif block (with or without its `Exif` prefix); 1 if there is none that makes sense."""
    block = bytes(exif)
    tiff = block[6:] if block.startswith(b"Exif\0\0") else block
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (offset,) = struct.unpack(order + "I", tiff[4:8])
    if offset + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack(order + "H", tiff[offset : offset + 2])
    for start in range(offset + 2, min(offset + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, count = struct.unpack(order + "HHI", tiff[start : start + 8])
        if tag == 0x0112 and count == 1 and kind in (3, 4):  # SHORT, or LONG as some writers have it
            (value,) = struct.unpack(
                order + ("H" if kind == 3 else "I"), tiff[start + 8 : start + (10 if kind == 3 else 12)]
            )
            return value if 1 <= value <= 8 else 1
    return 1
