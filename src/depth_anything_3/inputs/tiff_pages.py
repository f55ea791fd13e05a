"""Find the pages of a TIFF, and the one that shows the image at full size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.camera_raw import CAMERA_RAW, raw_format
from depth_anything_3.inputs.pillow_open import Buffer

__all__ = ["Tag", "TiffPage", "find_pages", "full_size_page", "is_tiff", "starting_at", "tiff_image_page"]

# The last two have the bytes of the version in the wrong order; Pillow reads them too.
_STARTS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">", b"II\0*": "<", b"MM*\0": ">"}
_MAX_PAGES = 256
_MAX_SUBPAGES = 16
_MAX_ENTRIES = 512
_TYPES = {
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_UNSIGNED = frozenset({3, 4, 13, 16, 18})  # types of 2, 4 and 8 bytes
_SIZES = frozenset((kind, 1) for kind in _UNSIGNED)  # type and number of values
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2
_RAW_PHOTOMETRICS = frozenset({32_803, 34_892})  # colour filter array, linear raw


class Tag:
    """Numbers of the TIFF tags that are read."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    PLANES = 284
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    SUBPAGES = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    DNG_VERSION = 50706


@dataclass(frozen=True, eq=False)
class TiffPage:
    """One page (image file directory) of a TIFF.

    Attributes:
        data: the complete file.
        order: its byte order, "<" or ">".
        big: whether it is a BigTIFF.
        offset: position of the page's directory.
        entries: tag -> (type, number of values, position of the values).
        next: position of the next page; 0 if there is none.
    """

    data: memoryview
    order: str
    big: bool
    offset: int
    entries: dict[int, tuple[int, int, int]]
    next: int

    def values(self, tag: int) -> npt.NDArray[Any]:  # Any: integers of the tag's type
        """Return a tag's integers, as many as the file holds; none if it is missing or not of integers."""
        kind, count, position = self.entries.get(tag, (0, 0, 0))
        if kind not in _TYPES:
            return np.empty(0, np.int64)
        dtype = np.dtype(self.order + _TYPES[kind])
        count = max(0, min(count, (len(self.data) - position) // dtype.itemsize))
        return np.frombuffer(self.data, dtype, count, position) if count else np.empty(0, np.int64)

    def value(self, tag: int, default: int) -> int:
        """Return a tag's first integer."""
        values = self.values(tag)
        return int(values[0]) if values.size else default

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) as stored, before the orientation is applied; 0 where the value is damaged."""
        return self._size(Tag.HEIGHT), self._size(Tag.WIDTH)

    def _size(self, tag: int) -> int:
        return self.value(tag, 0) if self.entries.get(tag, (0, 0, 0))[:2] in _SIZES else 0

    def is_damaged(self, tag: int) -> bool:
        """Whether a tag is present without an unsigned integer that the standard allows for what it describes."""
        return tag in self.entries and (self.entries[tag][0] not in _UNSIGNED or not self.values(tag).size)

    @property
    def orientation(self) -> int | None:
        """1 to 8; None if it is missing or invalid."""
        value = self.value(Tag.ORIENTATION, 0)
        return value if 1 <= value <= 8 else None

    @property
    def is_copy(self) -> bool:
        """Whether this is a reduced copy of another page, or a mask for one."""
        flags = self.value(Tag.NEW_SUBFILE_TYPE, 0)
        return bool(flags & (_REDUCED | _MASK)) or self.value(Tag.SUBFILE_TYPE, 1) == _OLD_REDUCED


def is_tiff(data: Buffer) -> bool:
    """Whether a file begins like a TIFF or BigTIFF."""
    return bytes(data[:4]) in _STARTS


def tiff_image_page(data: Buffer, label: str) -> TiffPage:
    """Return the page of a TIFF that shows the image at full size.

    Raises:
        ImageDecodeError: the file is damaged, or a camera's raw file.
    """
    raw = raw_format(data)
    pages = [] if raw else find_pages(data)
    if any(one.value(Tag.PHOTOMETRIC, -1) in _RAW_PHOTOMETRICS for one in pages):
        raw = "DNG" if Tag.DNG_VERSION in pages[0].entries else "NEF, ARW, PEF or similar"
    if raw is not None:
        raise ImageDecodeError(f"{label}: {CAMERA_RAW.format(raw)}")
    if not pages:
        raise ImageDecodeError(f"{label}: truncated or damaged TIFF: it has no page")
    page = full_size_page(pages)
    if page.is_copy and (Tag.DNG_VERSION in page.entries or Tag.SUBPAGES in page.entries):
        raise ImageDecodeError(f"{label}: truncated or damaged TIFF: it holds a reduced copy, but not the image itself")
    return page


def find_pages(data: Buffer) -> list[TiffPage]:
    """Return the pages of a TIFF in order, each followed by its subpages; at most a few hundred of them."""
    order, big = _STARTS[bytes(data[:4])], b"+" in bytes(data[2:4])
    view, seen = memoryview(data), {0}
    pages: list[TiffPage] = []
    offset = _integer(view, order, 8 if big else 4, big)
    while offset not in seen and len(pages) < _MAX_PAGES:
        seen.add(offset)
        page = _page(view, order, big, offset)
        if page is None:
            break
        pages.append(page)
        for start in map(int, page.values(Tag.SUBPAGES)[:_MAX_SUBPAGES]):
            subpage = None if start in seen else _page(view, order, big, start)
            if subpage is not None:
                seen.add(start)
                pages.append(subpage)
        offset = page.next
    return pages


def full_size_page(pages: list[TiffPage]) -> TiffPage:
    """Return the first page; if it is a reduced copy or a mask, the largest page that is neither, or that there is."""
    if not pages[0].is_copy:
        return pages[0]
    candidates = [one for one in pages if not one.is_copy and all(one.size_hw)] or pages
    return max(candidates, key=lambda one: one.size_hw[0] * one.size_hw[1])


def starting_at(page: TiffPage) -> Buffer:
    """Return the file with this page first, for readers that take the first page."""
    width = 8 if page.big else 4
    header = struct.pack(page.order + ("Q" if page.big else "I"), page.offset)
    if bytes(page.data[width : 2 * width]) == header:
        return page.data
    return b"".join([page.data[:width], header, page.data[2 * width :]])


def _integer(data: memoryview, order: str, position: int, big: bool) -> int:
    """Return the offset stored at a position; 0 at the end of the file."""
    end = position + (8 if big else 4)
    return int.from_bytes(data[position:end], "little" if order == "<" else "big") if end <= len(data) else 0


def _page(data: memoryview, order: str, big: bool, offset: int) -> TiffPage | None:
    head, size, width = (8, 20, 8) if big else (2, 12, 4)
    endian = "little" if order == "<" else "big"
    first = offset + head
    count = int.from_bytes(data[offset:first], "little" if order == "<" else "big")
    end = first + count * size
    if not count or end > len(data):
        return None
    entries = dict(_entries(data, order, big, first, min(count, _MAX_ENTRIES)))
    return TiffPage(data, order, big, offset, entries, int.from_bytes(data[end : end + width], endian))  # type: ignore[arg-type]


def _entries(
    data: memoryview, order: str, big: bool, first: int, count: int
) -> Iterator[tuple[int, tuple[int, int, int]]]:
    size, form, inline = (20, "HHQ", 8) if big else (12, "HHI", 4)
    for start in range(first, first + count * size, size):
        tag, kind, number = struct.unpack_from(order + form, data, start)
        position = start + size - inline
        if number * np.dtype(_TYPES.get(kind, "u1")).itemsize > inline:
            position = _integer(data, order, position, big)
        yield tag, (kind, number, position)
