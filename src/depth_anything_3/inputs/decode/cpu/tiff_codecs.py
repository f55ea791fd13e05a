"""Expand the strips and tiles of TIFFs.

libtiff, inside Pillow and OpenCV, prints what is damaged without the file's name; OpenCV mixes up planes and tiles.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.compiled import jit

__all__ = ["CODECS", "DamagedStripError", "expand", "is_predicted", "unpack_samples"]

Bytes = npt.NDArray[np.uint8]

_RAW, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32_946, 32_773
CODECS = frozenset({_RAW, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS})
"""The compressions that `expand` supports."""

_PREDICTED = frozenset({_LZW, _DEFLATE, _OLD_DEFLATE})
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
_MAX_UNPACKED = 1 << 24  # bytes of single bits at a time
_MAX_CODES = 4096


class DamagedStripError(Exception):
    """A strip or tile is truncated or damaged; the message says which of the two."""


def expand(data: Bytes, compression: int, size: int, limit: int, *, reversed_bits: bool) -> Bytes:
    """Return the `size` bytes of a strip or tile, or fewer if it is truncated.

    Args:
        data: its bytes in the file.
        compression: one of `CODECS`.
        size: number of bytes that it must hold.
        limit: number of bytes that it may hold: a writer may have padded the last strip.
        reversed_bits: whether the bits of each byte are stored in reverse order.

    Raises:
        DamagedStripError: it is damaged.
    """
    if reversed_bits:
        data = _REVERSED[data]
    if compression == _RAW:
        found = data[:size]
    elif compression in (_DEFLATE, _OLD_DEFLATE):
        found = _inflated(data, size, limit)
    else:
        found = np.empty(size, np.uint8)
        kernel = _expand_lzw if compression == _LZW else _expand_packbits
        # Before TIFF 5, LZW codes began at the lowest bit; as libtiff recognises them.
        reversed_codes = compression == _LZW and data.size > 1 and data[0] == 0 and data[1] & 1
        count = -1 if reversed_codes else kernel(data, found)
        if count < 0:
            raise DamagedStripError("damaged")
        found = found[:count]
    return found


def _inflated(data: Bytes, size: int, limit: int) -> Bytes:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data.tobytes(), size)
        if not inflater.eof:  # to its checksum; damaged data often expand without end
            inflater.decompress(inflater.unconsumed_tail, limit - size + 1)
    except zlib.error:
        raise DamagedStripError("damaged") from None
    if inflater.unconsumed_tail and not inflater.eof:
        raise DamagedStripError("damaged")
    return np.frombuffer(found, np.uint8)


def unpack_samples(
    data: Bytes, shape: tuple[int, int, int], bits: int, order: str, *, predicted: bool
) -> npt.NDArray[Any]:  # Any: unsigned integers of the smallest type
    """Return the samples of a strip or tile.

    Args:
        data: its bytes, expanded.
        shape: (rows, columns, samples per pixel).
        bits: bits per sample: 1 to 16, or 32.
        order: byte order of the file, "<" or ">".
        predicted: whether differences of neighbours are stored.
    """
    rows, columns, channels = shape
    if bits in (8, 16, 32):
        samples = data.view(np.dtype(f"{order}u{bits // 8}")).reshape(shape)
        if predicted:
            samples = np.cumsum(samples, axis=1, dtype=samples.dtype.newbyteorder("="))
        return samples
    packed = data.reshape(rows, -1)
    samples = np.empty((rows, columns * channels), np.uint8 if bits < 8 else np.uint16)
    step = max(1, _MAX_UNPACKED // (16 * columns * channels))
    for top in range(0, rows, step):
        samples[top : top + step] = _unpacked(packed[top : top + step], columns * channels, bits)
    return samples.reshape(shape)


def _unpacked(packed: Bytes, count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Return (rows, count) samples of any number of bits up to 16, stored with the highest bit first."""
    single = np.unpackbits(packed, axis=1, count=count * bits).reshape(len(packed), count, bits)
    padded = np.zeros((len(packed), count, 16), np.uint8)
    padded[..., 16 - bits :] = single
    return np.packbits(padded, axis=-1).view(">u2")[..., 0]


def is_predicted(compression: int) -> bool:
    """Whether a compression may store differences of neighbours."""
    return compression in _PREDICTED


@jit
def _expand_packbits(data: Bytes, out: Bytes) -> int:
    """Fill `out` and return the number of bytes written; -1 if the data end within a run."""
    position = written = 0
    while written < out.size and position < data.size:
        length = np.int64(data[position])
        position += 1
        if length < 128:
            length = min(length + 1, out.size - written)
            if position + length > data.size:
                return -1
            for _ in range(length):
                out[written] = data[position]
                written += 1
                position += 1
        elif length > 128:
            if position >= data.size:
                return -1
            for _ in range(min(257 - length, out.size - written)):
                out[written] = data[position]
                written += 1
            position += 1
    return written


@jit
def _expand_lzw(data: Bytes, out: Bytes) -> int:
    """Fill `out` and return the number of bytes written; -1 for a code that does not exist yet."""
    start = np.zeros(_MAX_CODES, np.int64)  # where a code's string was written in `out`
    length = np.zeros(_MAX_CODES, np.int64)
    free, width = 258, 9
    previous_start = previous_length = np.int64(0)
    position = written = 0
    window = pending = np.int64(0)
    while written < out.size:
        while pending < width:
            if position >= data.size:
                return written
            window = ((window << 8) | np.int64(data[position])) & 0xFFFFFF
            position += 1
            pending += 8
        pending -= width
        code = (window >> pending) & ((1 << width) - 1)
        if code == 257:
            return written
        if code == 256:
            free, width, previous_length = 258, 9, np.int64(0)
            continue
        begin = written
        if code < 256:
            out[written] = code
            written += 1
        else:
            if code > free or (code == free and previous_length == 0) or (code != free and length[code] == 0):
                return -1
            source = previous_start if code == free else start[code]
            size = previous_length + 1 if code == free else length[code]
            for k in range(min(size, out.size - written)):  # may overlap what it writes
                out[written] = out[source + k]
                written += 1
        if previous_length > 0 and free < _MAX_CODES:
            start[free] = previous_start
            length[free] = previous_length + 1
            free += 1
        previous_start, previous_length = begin, written - begin
        width = 9 if free < 511 else 10 if free < 1023 else 11 if free < 2047 else 12
    return written
