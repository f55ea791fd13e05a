"""Determine from its container whether a video file ends before it should."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["is_whole"]

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MAX_PIECES = 100_000
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}  # that an MP4 or MOV begins with


def is_whole(file: BinaryIO) -> bool | None:
    """Whether a Matroska, AVI, MP4 or MOV file has all bytes that its top-level elements state; None if unknown.

    The file must be seekable; its position is restored.
    """
    position = file.tell()
    try:
        length = file.seek(0, os.SEEK_END)
        for count, end in enumerate(_ends(file)):
            if end is None or count > _MAX_PIECES:
                return None
            if end > length:
                return False
            if end == length:
                return True
        return None
    finally:
        file.seek(position)


def _ends(file: BinaryIO) -> Iterator[int | None]:
    """Yield where each top-level element ends; None if it does not say so."""
    file.seek(0)
    head = file.read(12)
    if head[:4] == _EBML:
        pieces = _ebml_ends
    elif head[:4] == b"RIFF":
        pieces = _riff_ends
    elif head[4:8] in _BOXES:
        pieces = _box_ends
    else:
        return
    yield from pieces(file)


def _ebml_ends(file: BinaryIO) -> Iterator[int | None]:
    begin = 0
    while True:
        file.seek(begin)
        head = file.read(12)
        if len(head) < 5 or head[:4] not in (_EBML, _SEGMENT):
            return
        width = 9 - head[4].bit_length()
        if width > 8 or len(head) < 4 + width:
            return
        size = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        unknown = size == (1 << 7 * width) - 1
        begin += 4 + width + size
        yield None if unknown else begin


def _riff_ends(file: BinaryIO) -> Iterator[int | None]:
    begin = 0
    while True:
        file.seek(begin)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        begin += 8 + size
        yield begin if size else None  # 0: the writer was killed


def _box_ends(file: BinaryIO) -> Iterator[int | None]:
    begin = 0
    while True:
        file.seek(begin)
        head = file.read(16)
        if len(head) < 8:
            return
        size = int.from_bytes(head[:4], "big")
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if size < 8:  # 0: up to the end of the file, however long that is
            yield None
            return
        begin += size
        yield begin
