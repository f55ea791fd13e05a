"""Read the orientation and the lens from Exif blocks and XMP packets."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

__all__ = [
    "LENS_TAGS",
    "ORIENTATION",
    "TIFF_EP",
    "Metadata",
    "as_orientation",
    "read_lens",
    "read_orientation",
    "write_block",
]

ORIENTATION = 0x0112
_EXIF_FOLDER = 0x8769
_FOCAL_LENGTHS = ("FocalLengthIn35mmFilm", "FocalLength")  # the first suffices
_XMP_LENS = {
    "FocalLengthIn35mmFilm": 0xA405,
    "FocalLength": 0x920A,
    "PixelXDimension": 0xA002,
    "PixelYDimension": 0xA003,
    "FocalPlaneXResolution": 0xA20E,
    "FocalPlaneResolutionUnit": 0xA210,
    "DigitalZoomRatio": 0xA404,
}
LENS_TAGS = frozenset(_XMP_LENS.values())
"""Exif entries that a focal length is computed from."""
TIFF_EP = {0x920E: 0xA20E, 0x9210: 0xA210}
"""Other numbers, in TIFF/EP, of the focal plane's resolution and its unit."""

_PREFIX = b"Exif\0\0"
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
_TEXT, _RATIONALS = 2, (5, 10)
_MAX_PACKET = 1 << 22  # bytes
_NAMESPACE = rb"""xmlns:([A-Za-z_][\w.-]{0,30})\s*=\s*["']http://ns\.adobe\.com/%b/1\.0/["']"""
# The name comes first, because expressions that begin with a literal are searched fast.
_VALUE = rb"""%b(?<=[\s<]%b)(?:\s*=\s*["']|(?:\s[^<>]{0,100})?>)\s*([0-9]{1,12}(?:[./][0-9]{1,12})?)"""


@dataclass(frozen=True)
class Metadata:
    """The Exif block and the XMP packet of an image, as its container stores them.

    Attributes:
        exif: with or without the `Exif` prefix; empty if there is none.
        xmp: empty if there is none.
    """

    exif: bytes = b""
    xmp: bytes = b""

    @property
    def orientation(self) -> int:
        """1 to 8. An entry in the Exif block takes precedence over XMP, even if it is invalid, as in Pillow."""
        found = read_orientation(self.exif)
        if found is None and self.xmp:
            found = as_orientation(_xmp_numbers(self.xmp, b"tiff", {"Orientation": ORIENTATION}).get(ORIENTATION))
        return found or 1

    def with_lens(self) -> bytes:
        """Return the Exif block. If only XMP has a focal length: a block with the lens entries of both."""
        known = {tag: value for tag, value in read_lens(self.exif).items() if value > 0} if self.xmp else {}
        if not self.xmp or _XMP_LENS[_FOCAL_LENGTHS[0]] in known:
            return self.exif
        text = _ascii(self.xmp)
        missing = [name for name in _FOCAL_LENGTHS if _XMP_LENS[name] not in known and name.encode() in text]
        found = _xmp_numbers(self.xmp, b"exif", _XMP_LENS) if missing else {}
        if not any(_XMP_LENS[name] in found for name in missing):
            return self.exif
        return write_block(self.orientation, {**found, **known})


def as_orientation(value: object) -> int | None:
    """Convert the value of an orientation entry to 1 to 8: 1 if it is invalid, None if it is None.

    Any type is accepted, and the first of several values, as in ExifTool, Exiv2 and ImageMagick.
    """
    if value is None:
        return None
    if isinstance(value, tuple):
        value = value[0] if value else 0
    if isinstance(value, bytes):
        value = value[0] if value else 0
    if isinstance(value, str) and value[:1].isdecimal():
        value = int(value[:1])
    return next((number for number in range(1, 9) if value == number), 1)


def read_orientation(block: bytes) -> int | None:
    """Return the orientation in an Exif block: 1 if it is invalid, None if there is none.

    Only the first directory counts; the second describes the thumbnail.
    """
    tiff = _without_prefix(block)
    for tag, value in _entries(tiff, None):
        if tag == ORIENTATION:
            return as_orientation(0 if value is None else value)
    return None


def read_lens(block: bytes) -> dict[int, float]:
    """Return the numbers among `LENS_TAGS` in an Exif block, which may be empty or damaged."""
    tiff = _without_prefix(block)
    found: dict[int, float] = {}
    folder: float | None = None
    for tag, value in _entries(tiff, None):
        if tag == _EXIF_FOLDER:
            folder = value
        elif value is not None and TIFF_EP.get(tag, tag) in LENS_TAGS:
            found[TIFF_EP.get(tag, tag)] = value
    if folder is not None and math.isfinite(folder):
        found |= {tag: value for tag, value in _entries(tiff, int(folder)) if value is not None and tag in LENS_TAGS}
    return found


def write_block(orientation: int | None, lens: Mapping[int, float]) -> bytes:
    """Write an Exif block with an orientation (none if it is None) and lens entries, as `read_lens` returns them."""
    rationals = {}
    for tag, value in sorted(lens.items()):
        with suppress(ValueError, OverflowError):  # not finite
            number = Fraction(value).limit_denominator(1_000_000)
            if 0 <= number.numerator < 1 << 32:
                rationals[tag] = number.as_integer_ratio()
    first = [] if orientation is None else [struct.pack("<HHIHxx", ORIENTATION, 3, 1, orientation)]
    folder = 8 + 2 + 12 * (len(first) + 1) + 4
    first.append(struct.pack("<HHII", _EXIF_FOLDER, 4, 1, folder))
    values = folder + 2 + 12 * len(rationals) + 4
    second = [struct.pack("<HHII", tag, 5, 1, values + 8 * index) for index, tag in enumerate(rationals)]
    directories = (struct.pack("<H", len(one)) + b"".join(one) + b"\0\0\0\0" for one in (first, second))
    return b"II*\0\x08\0\0\0" + b"".join(directories) + b"".join(struct.pack("<II", *one) for one in rationals.values())


def _without_prefix(block: bytes) -> bytes:
    return block.removeprefix(_PREFIX).removeprefix(_PREFIX)  # some writers add it twice


def _entries(tiff: bytes, offset: int | None) -> Iterator[tuple[int, float | None]]:
    """Yield the tags of a directory, the first one if `offset` is None, and the first number of each, or None."""
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return
    if offset is None:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
    if not 8 <= offset <= len(tiff) - 2:
        return
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    start, count = offset + 2, min(count, (len(tiff) - offset - 2) // 12)
    for tag, kind, values, field in struct.iter_unpack(order + "HHI4s", tiff[start : start + 12 * count]):
        yield tag, _first_number(tiff, order, kind, values, field)


def _first_number(tiff: bytes, order: str, kind: int, count: int, field: bytes) -> float | None:
    form = _TYPES.get(kind)
    if form is None or count == 0:
        return None
    size = struct.calcsize("=" + form)
    if size * count > 4:  # the field is an offset
        (at,) = struct.unpack(order + "I", field)
        if at + size * count > len(tiff):
            return None
        field = tiff[at : at + max(size, min(count, 8))]
    if kind == _TEXT:
        digits = field[:count].split(b"\0")[0].strip()
        return int(digits) if digits.isdigit() else None
    if kind in _RATIONALS:
        above, below = struct.unpack_from(order + form, field)
        return above / below if below else None
    value: float = struct.unpack_from(order + form, field)[0]
    return value


def _xmp_numbers(packet: bytes, schema: bytes, names: Mapping[str, int]) -> dict[int, float]:
    """Return the numbers of an XMP packet, by tag; written as attributes or as elements."""
    # Regular expressions, because an XML parser is slow and fails on packets that others read.
    text = _ascii(packet)
    declared = re.search(_NAMESPACE % schema, text)
    prefix = re.escape(declared[1]) if declared else schema
    numbers = {}
    for name, tag in names.items():
        full = prefix + b":" + name.encode()
        found = re.search(_VALUE % (full, full), text)
        if found:
            with suppress(ZeroDivisionError):
                numbers[tag] = float(Fraction(found[1].decode()))
    return numbers


def _ascii(packet: bytes) -> bytes:
    """Return the start of a packet; UTF-16 and UTF-32 become ASCII, as far as it matters here."""
    return packet[:_MAX_PACKET].replace(b"\0", b"")
