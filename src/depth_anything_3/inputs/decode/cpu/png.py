"""Decode PNGs of every depth.

libpng, inside OpenCV, prints what is damaged without the file's name, and truncates 16 bits; Pillow leaves missing rows
black without an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.compiled import jit
from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.decode.cpu.samples import as_rgb, to_8_bits
from depth_anything_3.inputs.header import Buffer
from depth_anything_3.inputs.png_header import PngHeader, read_png_header

__all__ = ["decode"]

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_PALETTE = 3
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Adam7: first row, first column, distance of rows, distance of columns."""
_ANCILLARY = 0x20  # bit of a chunk's first letter: may be ignored
_MAX_CHUNKS = 200_000  # at libpng's 8 kB per chunk, more than MAX_BYTES


class _Unusable(Exception):
    """The pixels are truncated or damaged."""


def decode(data: Buffer, label: str) -> Decoded | None:
    """Return an image without its alpha, or None if its pixels are truncated or damaged.

    Only the chunks that hold pixels and palette are used. Of an animation this is the default image.

    Args:
        data: complete encoded file.
        label: name of the image in errors.
    """
    header = read_png_header(data, label)
    try:
        packed, palette, warnings = _read_chunks(memoryview(data), header)
        samples = _read_samples(packed, header, warnings)
    except _Unusable:
        return None
    if header.colour_type == _PALETTE:
        return Decoded(palette[samples[..., 0]], tuple(warnings))
    colours = samples[..., : 1 if header.channels < 3 else 3]
    return Decoded(as_rgb(to_8_bits(colours, (1 << header.bits) - 1)), tuple(warnings))


def _read_chunks(data: memoryview, header: PngHeader) -> tuple[bytes | memoryview, Bytes, list[str]]:
    """Return the compressed pixels, the palette (256, 3), and warnings about other chunks.

    Raises:
        _Unusable: chunks are truncated, unterminated or too many, a checksum of the pixels is wrong, or a chunk that
            may not be ignored is unknown.
    """
    pixels: list[memoryview] = []
    palette = np.zeros((256, 3), np.uint8)
    warnings: list[str] = []
    at = 33
    for _ in range(_MAX_CHUNKS):
        end, kind = at + 12 + int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if end > len(data) or len(kind) < 4:
            raise _Unusable
        if kind == b"IEND":
            return pixels[0] if len(pixels) == 1 else b"".join(pixels), palette, warnings
        intact = zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        needed = kind == b"IDAT" or (kind == b"PLTE" and header.colour_type == _PALETTE)
        known = needed or kind == b"PLTE" or kind[0] & _ANCILLARY
        if not known or (needed and not intact):
            raise _Unusable
        if kind == b"IDAT":
            pixels.append(data[at + 8 : end - 4])
        elif needed:
            colours = np.frombuffer(data[at + 8 : end - 4], np.uint8)
            count = min(colours.size // 3, 256)
            palette[:count] = colours[: 3 * count].reshape(count, 3)
        elif not intact and not warnings:
            warnings.append(f"damaged PNG: a checksum outside its pixels is wrong (chunk {ascii(kind)[2:-1]})")
        at = end
    raise _Unusable


def _read_samples(
    packed: Buffer, header: PngHeader, warnings: list[str]
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return (H, W, channels) samples as stored."""
    (height, width), channels = header.hw, header.channels
    passes = list(_passes(header))
    inflater = zlib.decompressobj()
    size = sum(rows * (1 + _row_bytes(columns, header)) for rows, columns, _ in passes)
    try:
        raw = inflater.decompress(packed, size)
        more = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error:
        raise _Unusable from None
    if len(raw) < size or not (inflater.eof or more):
        raise _Unusable
    if more or inflater.unused_data:
        warnings.append("damaged PNG: more data than its pixels need")
    filtered = np.frombuffer(raw, np.uint8)
    samples = np.empty((height, width, channels), np.uint16 if header.bits == 16 else np.uint8)
    step = max(1, channels * header.bits // 8)
    for rows, columns, where in passes:
        length = 1 + _row_bytes(columns, header)
        part, filtered = filtered[: rows * length].reshape(rows, length), filtered[rows * length :]
        lines = np.empty((rows, length - 1), np.uint8)
        if not _unfilter(part, step, lines):
            raise _Unusable
        found = _unpacked(lines, columns * channels, header.bits).reshape(rows, columns, channels)
        if not header.interlaced:
            return found
        samples[where] = found
    return samples


def _passes(header: PngHeader) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """Yield (rows, columns) of each pass that has pixels, and where they go."""
    height, width = header.hw
    for top, left, down, across in _PASSES if header.interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        if rows > 0 and columns > 0:
            yield rows, columns, (slice(top, None, down), slice(left, None, across))


def _row_bytes(columns: int, header: PngHeader) -> int:
    return -(-columns * header.channels * header.bits // 8)


def _unpacked(lines: Bytes, count: int, bits: int) -> Samples:
    """Return (rows, count) samples of packed rows."""
    if bits == 8:
        return lines
    if bits == 16:
        return lines.view(">u2").astype(np.uint16)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = (lines[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(spread.reshape(len(lines), -1)[:, :count], np.uint8)


@jit
def _unfilter(rows: Bytes, step: int, out: Bytes) -> bool:
    """Undo the filters of rows, each after its filter's number; False if a number is not a filter's."""
    count = out.shape[1]
    for y in range(rows.shape[0]):
        kind = rows[y, 0]
        if kind == 0:
            for i in range(count):
                out[y, i] = rows[y, i + 1]
        elif kind == 1:
            for i in range(min(step, count)):
                out[y, i] = rows[y, i + 1]
            for i in range(step, count):
                out[y, i] = rows[y, i + 1] + out[y, i - step]
        elif kind == 2:
            for i in range(count):
                out[y, i] = rows[y, i + 1] + (out[y - 1, i] if y > 0 else np.uint8(0))
        elif kind == 3:
            for i in range(count):
                left = np.int32(out[y, i - step]) if i >= step else np.int32(0)
                above = np.int32(out[y - 1, i]) if y > 0 else np.int32(0)
                out[y, i] = rows[y, i + 1] + np.uint8((left + above) >> 1)
        elif kind == 4:
            for i in range(count):
                left = np.int32(out[y, i - step]) if i >= step else np.int32(0)
                above = np.int32(out[y - 1, i]) if y > 0 else np.int32(0)
                corner = np.int32(out[y - 1, i - step]) if y > 0 and i >= step else np.int32(0)
                to_left, to_above = abs(above - corner), abs(left - corner)
                to_corner = abs(left + above - 2 * corner)
                if to_left <= to_above and to_left <= to_corner:
                    nearest = left
                elif to_above <= to_corner:
                    nearest = above
                else:
                    nearest = corner
                out[y, i] = rows[y, i + 1] + np.uint8(nearest)
        else:
            return False
    return True
