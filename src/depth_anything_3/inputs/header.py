"""Read an image file's header: format, size, orientation and JPEG coding."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from depth_anything_3.errors import ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.exif import Metadata
from depth_anything_3.inputs.limits import MAX_PIXELS
from depth_anything_3.inputs.metadata import (
    info_metadata,
    jpeg2000_metadata,
    jpeg_metadata,
    orientation_in_format,
    png_metadata,
    tiff_metadata,
)
from depth_anything_3.inputs.pillow_open import JPEG_START, Buffer, open_image
from depth_anything_3.inputs.png_header import PNG_START, read_png_header
from depth_anything_3.inputs.tiff_pages import is_tiff, tiff_image_page

__all__ = ["Buffer", "ImageHeader", "JpegCoding", "JpegProcess", "probe"]


class JpegProcess(str, Enum):
    """The coding process of a JPEG; hardware decoders support `BASELINE` only."""

    BASELINE = "baseline"
    EXTENDED = "extended sequential"
    PROGRESSIVE = "progressive"
    LOSSLESS = "lossless"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True)
class JpegCoding:
    """The properties of a JPEG that decide which decoder supports it.

    Attributes:
        process: coding process from the frame header.
        bits: bits per sample, almost always 8.
        sampling: (horizontal, vertical) factors per component; ((2, 2), (1, 1), (1, 1)) is 4:2:0.
        stored_as_rgb: whether three components are RGB instead of YCbCr, by libjpeg's rule: JFIF marker, then Adobe
            marker, then component identifiers.
        complete: whether an end marker follows the first scan; if not, the file is truncated.
    """

    process: JpegProcess
    bits: int
    sampling: tuple[tuple[int, int], ...]
    stored_as_rgb: bool = False
    complete: bool = True

    @property
    def components(self) -> int:
        """Number of components: 1 grey, 3 colour, 4 CMYK or YCCK."""
        return len(self.sampling)

    @property
    def subsampled(self) -> bool:
        """Whether chroma is subsampled."""
        return len(set(self.sampling)) > 1


@dataclass(frozen=True)
class ImageHeader:
    """The header of an encoded image.

    Attributes:
        format: Pillow's name, such as "JPEG" or "PNG".
        stored_hw: (height, width) as stored, before the orientation is applied.
        exif_orientation: 1 to 8, from EXIF or XMP; 1 if it is missing or invalid.
        jpeg: the JPEG coding; None for other formats.
        exif: EXIF block, with or without the `Exif` prefix, or a block made of the lens entries of a TIFF or of XMP;
            empty if there is none.
    """

    format: str
    stored_hw: tuple[int, int]
    exif_orientation: int
    jpeg: JpegCoding | None = None
    exif: bytes = b""


def probe(data: Buffer, label: str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read an image's header.

    Args:
        data: complete encoded file.
        label: name of the image in errors.
        max_pixels: maximum number of pixels.

    Raises:
        ImageDecodeError: the format is unknown, or the header is damaged.
        ImageSizeError: the header states no pixels, or more than `max_pixels`.
    """
    is_jpeg = bytes(data[:3]) == JPEG_START
    header = _probe_jpeg(memoryview(data), label) if is_jpeg else _probe_without_pillow(data, label)
    header = header or _probe_with_pillow(data, label)
    height, width = header.stored_hw
    if height * width > max_pixels:
        raise ImageSizeError(
            f"{label}: the header states {width}x{height} pixels, more than the limit of {max_pixels:,}; if you trust "
            "the file, raise max_pixels"
        )
    if height * width == 0:
        raise ImageSizeError(f"{label}: the header states {width}x{height} pixels")
    return header


def _probe_without_pillow(data: Buffer, label: str) -> ImageHeader | None:
    """Probe the formats of which Pillow does not open every file that is decoded; None for others."""
    if bytes(data[:8]) == PNG_START:
        stored_hw, metadata = read_png_header(data, label).hw, png_metadata(data)
        return ImageHeader("PNG", stored_hw, orientation_in_format("PNG", metadata), exif=metadata.with_lens())
    if is_tiff(data):
        page = tiff_image_page(data, label)
        metadata = Metadata()
        with suppress(ImageDecodeError), open_image(data, label) as image:
            metadata = tiff_metadata(image)
        orientation = page.orientation or orientation_in_format("TIFF", metadata)
        return ImageHeader("TIFF", page.size_hw, orientation, exif=metadata.with_lens())
    return None


def _probe_with_pillow(data: Buffer, label: str) -> ImageHeader:
    with open_image(data, label) as image:
        metadata = jpeg2000_metadata(data) if image.format == "JPEG2000" else info_metadata(image.info)
        orientation = orientation_in_format(image.format, metadata)
        stored_hw = (image.height, image.width)
        return ImageHeader(image.format or "unknown", stored_hw, orientation, exif=metadata.with_lens())


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
_TAIL = 4096  # bytes; the end marker is almost always the last two
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_MAX_SEGMENTS = 100_000  # far more than 16 MB of metadata need
# Regular expressions, because a byte-by-byte loop takes seconds for a large file of fill bytes.
_MARKER_BYTE, _OTHER_BYTE = re.compile(b"\xff"), re.compile(b"[^\xff]")


def _probe_jpeg(data: memoryview, label: str) -> ImageHeader:
    app1: list[memoryview] = []
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
        if marker == _APP1:
            app1.append(segment)
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
    metadata = jpeg_metadata(app1)
    return ImageHeader("JPEG", stored_hw, metadata.orientation, coding, metadata.with_lens())


def _next_marker(data: memoryview, position: int) -> int:
    """Return the position of the next marker after stray and fill bytes; the end of the data if there is none."""
    start = _MARKER_BYTE.search(data, position)
    code = _OTHER_BYTE.search(data, start.start()) if start else None
    return code.start() - 1 if code else len(data)


def _frame(segment: memoryview, label: str) -> tuple[tuple[int, int], int, list[tuple[int, tuple[int, int]]]]:
    """Parse a frame header: (height, width), bits, and each component's identifier and sampling factors."""
    if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
        raise ImageDecodeError(f"{label}: truncated or damaged JPEG: its frame header is incomplete")
    bits, height, width, count = struct.unpack(">BHHB", segment[:6])
    if not (height and width and count):
        raise ImageDecodeError(f"{label}: damaged JPEG: its header says {width}x{height} with {count} components")
    if bits != 8:
        raise ImageDecodeError(
            f"{label}: a JPEG with {bits} bits per sample, but only 8 are supported; convert it first"
        )
    components = [segment[6 + 3 * index : 9 + 3 * index] for index in range(count)]
    return (height, width), bits, [(one[0], (one[1] >> 4, one[1] & 15)) for one in components]


def _ends(data: memoryview, scan: int) -> bool:
    """Whether an end marker follows the scan at `scan`; coded data cannot contain one."""
    size = _TAIL
    while True:
        start = max(len(data) - size, scan)
        if bytes(data[start:]).rfind(b"\xff\xd9") >= 0:
            return True
        if start <= scan:
            return False
        size *= 16
