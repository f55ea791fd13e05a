"""The bytes of an image file in, what its header says out: format, size, orientation, JPEG coding. No pixels."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import Enum

from depth_anything_3.errors import ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.limits import MAX_PIXELS
from depth_anything_3.inputs.pillow_open import JPEG_START, Buffer, open_image

__all__ = ["Buffer", "ImageHeader", "JpegCoding", "JpegProcess", "probe"]


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
        stored_as_rgb: three components are red, green and blue, not YCbCr; by libjpeg's rule, which looks for a JFIF
            marker, then an Adobe marker, then at the components' names.
        complete: an end marker follows the first scan; without one the file is cut.
    """

    process: JpegProcess
    bits: int
    sampling: tuple[tuple[int, int], ...]
    stored_as_rgb: bool = False
    complete: bool = True

    @property
    def components(self) -> int:
        """1 grey, 3 colour, 4 CMYK or YCCK."""
        return len(self.sampling)

    @property
    def subsampled(self) -> bool:
        """Whether colour is stored more coarsely than brightness."""
        return len(set(self.sampling)) > 1


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an encoded image says.

    Attributes:
        format: "JPEG", "PNG", ... as Pillow names it.
        stored_hw: (height, width) as stored, before any turn.
        exif_orientation: 1 to 8; 1 where there is none or it makes no sense.
        jpeg: the coding, for a JPEG.
        exif: its Exif block, with or without the `Exif` prefix; empty where there is none.
    """

    format: str
    stored_hw: tuple[int, int]
    exif_orientation: int
    jpeg: JpegCoding | None = None
    exif: bytes = b""


def probe(data: Buffer, label: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read an image's header.

    Args:
        data: the whole encoded file.
        label: how errors name it.
        max_pixels: a picture that claims more is refused.

    Raises:
        ImageDecodeError: not a picture of a known format, or its header is damaged.
        ImageSizeError: it claims no pixels, or too many.
    """
    is_jpeg = bytes(data[:3]) == JPEG_START
    header = _probe_jpeg(memoryview(data), label) if is_jpeg else _probe_with_pillow(data, label)
    height, width = header.stored_hw
    if height * width > max_pixels:
        raise ImageSizeError(
            f"{label}: claims {width}x{height} pixels, more than the {max_pixels:,} that are decoded; if it is to be "
            "trusted, raise max_pixels"
        )
    if height * width == 0:
        raise ImageSizeError(f"{label}: claims {width}x{height} pixels")
    return header


def _probe_with_pillow(data: Buffer, label: str) -> ImageHeader:
    with open_image(data, label) as image:
        # Pillow turns TIFFs by itself while decoding and reports their upright size.
        exif = b"" if image.format == "TIFF" else image.info.get("exif", b"")
        exif = exif if isinstance(exif, bytes) else b""
        stored_hw = (image.height, image.width)
        return ImageHeader(image.format or "unknown", stored_hw, read_orientation(exif), exif=exif)


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
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_TAIL = 4096  # bytes; the end marker is nearly always the last two
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_MAX_SEGMENTS = 100_000  # hundreds of times what 16 MB of metadata take
# Byte by byte, Python would take seconds for a file that was made long before it was filled.
_MARKER_BYTE, _OTHER_BYTE = re.compile(b"\xff"), re.compile(b"[^\xff]")


def _probe_jpeg(data: memoryview, label: str) -> ImageHeader:
    exif: memoryview | None = None
    frame: tuple[JpegProcess, memoryview] | None = None
    jfif, adobe_transform = False, None
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = _next_marker(data, position)
        if position + 4 > len(data):
            break
        marker = data[position + 1]
        if marker in _STANDALONE or marker == 0:
            position += 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        # Exif may legally follow the frame header, but no decoder looks there.
        if marker == _APP1 and exif is None and frame is None and bytes(segment[:6]) == b"Exif\0\0":
            exif = segment
        elif marker == _APP0 and bytes(segment[:5]) == b"JFIF\0":
            jfif = True
        elif marker == _APP14 and bytes(segment[:5]) == b"Adobe" and len(segment) >= 12:
            adobe_transform = segment[11]
        elif marker in _FRAME_MARKERS and frame is None:
            frame = _FRAME_MARKERS[marker], segment
        position += 2 + max(length, 2)
    else:
        raise ImageDecodeError(f"{label}: damaged JPEG: more than {_MAX_SEGMENTS:,} segments before its pixels")
    if frame is None:
        raise ImageDecodeError(f"{label}: truncated or damaged JPEG: no frame header in its {len(data):,} bytes")
    process, segment = frame
    stored_hw, bits, components = _frame(segment, label)
    names = bytes(name for name, _ in components)
    stored_as_rgb = (
        len(names) == 3 and not jfif and (names == b"RGB" if adobe_transform is None else adobe_transform == 0)
    )
    coding = JpegCoding(
        process, bits, tuple(factors for _, factors in components), stored_as_rgb, _ends(data, position)
    )
    block = b"" if exif is None else bytes(exif)
    return ImageHeader("JPEG", stored_hw, read_orientation(block), coding, block)


def _next_marker(data: memoryview, position: int) -> int:
    """Where the next marker is, behind stray bytes and fill bytes, which decoders skip; the end if there is none."""
    start = _MARKER_BYTE.search(data, position)
    code = _OTHER_BYTE.search(data, start.start()) if start else None
    return code.start() - 1 if code else len(data)


def _frame(segment: memoryview, label: str) -> tuple[tuple[int, int], int, list[tuple[int, tuple[int, int]]]]:
    """(height, width), bits, and each component's name and sampling factors, from a frame header."""
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise ImageDecodeError(f"{label}: truncated or damaged JPEG: its frame header is cut")
    bits, height, width, count = struct.unpack(">BHHB", segment[:6])
    if not (height and width and count):
        raise ImageDecodeError(f"{label}: damaged JPEG: its header says {width}x{height} with {count} components")
    if bits != 8:
        raise ImageDecodeError(f"{label}: a JPEG of {bits} bits a sample, where 8 are read; convert it first")
    components = [segment[6 + 3 * index : 9 + 3 * index] for index in range(count)]
    return (height, width), bits, [(one[0], (one[1] >> 4, one[1] & 15)) for one in components]


def _ends(data: memoryview, scan: int) -> bool:
    """Whether an end marker follows the scan that starts there; coded data cannot contain one by chance."""
    size = _TAIL
    while True:
        start = max(len(data) - size, scan)
        if bytes(data[start:]).rfind(b"\xff\xd9") >= 0:
            return True
        if start <= scan:
            return False
        size *= 16


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
