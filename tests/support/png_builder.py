"""Write PNGs of any depth, colour type, interlacing and chunks."""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["SIGNATURE", "chunk", "claiming", "hand_made_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def hand_made_png(
    samples: np.ndarray, colour: int, depth: int, *, interlaced: bool = False, before: bytes = b"", pieces: int = 1
) -> bytes:
    """Write samples.

    Args:
        samples: (H, W, channels) of the colour type, below 2 ** depth.
        colour: PNG's colour type.
        depth: bits a sample.
        interlaced: in Adam7's seven passes.
        before: chunks between header and data, such as a palette.
        pieces: IDAT chunks that the data is cut into.
    """
    assert samples.shape[2] == _CHANNELS[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(_rows(samples[top::down, left::across], depth) for top, left, down, across in passes)
    packed = zlib.compress(rows)
    size = -(-len(packed) // pieces)
    data = b"".join(chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size))
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, int(interlaced))
    return SIGNATURE + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def claiming(width: int, height: int) -> bytes:
    """A small file whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def _rows(samples: np.ndarray, depth: int) -> bytes:
    if not samples.size:
        return b""
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in samples]
    else:
        bits = (samples.reshape(len(samples), -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
        lines = [np.packbits(row.reshape(-1)).tobytes() for row in bits.astype(np.uint8)]
    return b"".join(b"\0" + line for line in lines)
