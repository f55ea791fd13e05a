"""Damage small image files: change, move and cut bytes, segments and chunks."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

from PIL import Image

from support.corpus.case import draw_image
from support.images import encoded, exif_block
from support.jpeg_builder import hand_made
from support.png_builder import PALETTE, RGB, SIGNATURE, chunk, hand_made_png
from support.tiff_builder import WHITE_IS_ZERO, page, tiff

__all__ = ["damaged", "mutated", "seeds"]

_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER = 64  # bytes in which damage does most


@cache
def seeds() -> tuple[bytes, ...]:
    """A small file of every kind."""
    rgb = draw_image(1, 24, 20)
    few = Image.fromarray(rgb).quantize(16)
    jpegs = [{}, {"sampling": ((2, 2), (1, 1), (1, 1))}, {"progressive": True}, {"restart": 2},
             {"sampling": ((1, 1),)}, {"sampling": ((1, 1),) * 4, "adobe": 2}]  # fmt: skip
    files = [hand_made(24, 20, **{"sampling": ((1, 1),) * 3, **how}).data for how in jpegs]
    files.append(encoded(rgb, "JPEG", exif=exif_block(6)))
    table = chunk(b"PLTE", rgb.tobytes()[:48]) + chunk(b"tRNS", b"\0\x80")
    files.append(hand_made_png(rgb, RGB, 8, pieces=2))
    files.append(hand_made_png(rgb.astype(int) * 257, RGB, 16, interlaced=True))
    files.append(hand_made_png(rgb[..., :1] % 16, PALETTE, 4, before=table))
    files += [encoded(rgb, kind) for kind in ("WEBP", "BMP", "TIFF", "PPM", "QOI", "SGI", "TGA", "JPEG2000", "AVIF")]
    files.append(encoded(rgb, "WEBP", lossless=True))
    files += [encoded(rgb, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    wide, copy = rgb.astype(int) * 257, page(rgb[::2, ::2], tags={254: ("I", [1])})
    files.append(tiff(page(wide, bits=16, packing="lzw", predictor=True, planar=True, tile=16), order="<"))
    files.append(tiff(page(wide, bits=16, packing="deflate", order=">"), order=">"))
    files.append(tiff(copy, page(wide // 16, bits=12, packing="packbits"), subpages=1))
    files.append(tiff(page(wide[..., :1], WHITE_IS_ZERO, 16)))
    files.append(b"P6 24 20 4095\n" + (wide // 16).astype(">u2").tobytes())
    files += [encoded(few, "GIF"), encoded(few, "BMP"), encoded(Image.new("RGB", (16, 16)), "ICO", sizes=[(16, 16)])]
    files += [
        encoded(Image.fromarray(rgb), kind, save_all=True, append_images=[few]) for kind in ("GIF", "PNG", "WEBP")
    ]
    return tuple(files)


def mutated(rng: random.Random) -> bytes:
    """One damaged file."""
    return damaged(rng.choice(seeds()), rng)


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A file with one piece of damage or some."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_MUTATIONS)(data, rng)
        if not data:
            return b""
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(min(len(data), _HEADER) if rng.random() < 0.4 else len(data))


def _change(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] = rng.randrange(256)


def _flip(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, rng: random.Random) -> None:
    """A number of some width and byte order that matters at its edges."""
    kind = rng.choice(("B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(kind)
    at = _place(data, rng)
    data[at : at + size] = struct.pack(kind, rng.choice(_EDGES) % (1 << 8 * size))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.randint(1, 16)]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 16))


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    piece = data[at : at + rng.randint(1, 64)]
    data[at:at] = piece * rng.choice((1, 1, 2, 50))


def _splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(seeds())
    data[_place(data, rng) :] = other[rng.randrange(len(other)) :]


def _segments(data: bytearray, rng: random.Random) -> None:
    """Of a JPEG, a whole segment dropped, doubled, moved, or of another file."""
    if data[:2] != b"\xff\xd8":
        return _change(data, rng)
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
        parts.append(bytes(data[at:end]))
        at = end
    _shuffle(parts, rng)
    data[2:at] = b"".join(parts)
    return None


def _chunks(data: bytearray, rng: random.Random) -> None:
    """Of a PNG, a whole chunk dropped, doubled, moved or changed, with checksums that fit."""
    if data[:8] != SIGNATURE:
        return _change(data, rng)
    parts, at = [], 8
    while at + 12 <= len(data) and len(parts) < 50:
        size = int.from_bytes(data[at : at + 4], "big")
        kind, content = bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + size])
        if content and rng.random() < 0.3:
            content = _unpacked_and_changed(kind, bytearray(content), rng)
        parts.append(chunk(kind, content))
        at += 12 + size
    _shuffle(parts, rng)
    data[8:] = b"".join(parts)
    return None


def _unpacked_and_changed(kind: bytes, content: bytearray, rng: random.Random) -> bytes:
    """Rows of a PNG are changed behind their compression, so that filters see it."""
    try:
        rows = bytearray(zlib.decompress(content)) if kind == b"IDAT" and rng.random() < 0.5 else None
    except zlib.error:
        rows = None
    target = content if rows is None else rows
    rng.choice((_change, _number, _cut, _repeat))(target, rng)
    return bytes(content) if rows is None else zlib.compress(rows)


def _shuffle(parts: list[bytes], rng: random.Random) -> None:
    if parts and rng.random() < 0.7:
        at = rng.randrange(len(parts))
        piece = parts.pop(at) if rng.random() < 0.5 else parts[at]
        if rng.random() < 0.7:
            parts.insert(rng.randrange(len(parts) + 1), piece)


_MUTATIONS = (_change, _change, _flip, _flip, _number, _number, _cut, _remove, _insert, _repeat, _splice, _segments,
              _segments, _chunks, _chunks)  # fmt: skip
