"""TIFFs made by hand: any number of bits, planes, tiles, compressions and pages. No TIFF library is needed."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

__all__ = ["BLACK_IS_ZERO", "CFA", "PALETTE", "RGB", "SEPARATED", "WHITE_IS_ZERO", "page", "tiff"]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, CFA = 0, 1, 2, 3, 5, 32_803
_NUMBERS = {"raw": 1, "lzw": 5, "deflate": 8, "packbits": 32_773}


def page(
    samples: np.ndarray,
    photometric: int = RGB,
    bits: int = 8,
    *,
    order: str = "<",
    packing: str = "raw",
    planar: bool = False,
    tile: int = 0,
    rows: int = 7,
    predictor: bool = False,
    tags: dict[int, tuple[str, list[int]]] | None = None,
) -> tuple[dict[int, tuple[str, list[int]]], list[bytes]]:
    """One page, for `tiff`: its tags (kind "B", "H" or "I", and values), and its strips or tiles.

    Args:
        samples: (H, W, C) of any integers or floats.
        photometric: what they mean.
        bits: of a sample; 1 to 16, or 32.
        order: of bytes.
        packing: "raw", "lzw", "deflate" or "packbits".
        planar: whether each channel is stored on its own.
        tile: side of tiles, of rows of whole bytes; 0 for strips.
        rows: of a strip.
        predictor: whether differences are stored; of 8, 16 or 32 bits.
        tags: more tags, or other values.
    """
    height, width, channels = samples.shape
    planes = [samples[..., one : one + 1] for one in range(channels)] if planar else [samples]
    blocks = [block for plane in planes for block in _blocks(plane, tile, rows)]
    found: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [_NUMBERS[packing]]),
        262: ("H", [photometric]),
        277: ("H", [channels]),
        284: ("H", [2 if planar else 1]),
    }
    if tile:
        found |= {322: ("I", [tile]), 323: ("I", [tile])}
    else:
        found[278] = ("I", [rows])
    if predictor:
        found[317] = ("H", [2])
    data = [_pack(_stored(block, bits, order, predictor), packing) for block in blocks]
    return {**found, **(tags or {})}, data


def tiff(*pages: tuple[dict[int, tuple[str, list[int]]], list[bytes]], order: str = "<", subpages: int = 0) -> bytes:
    """A file of pages, of which the last `subpages` are subpages of the first."""
    head, body = (b"II*\0" if order == "<" else b"MM\0*"), bytearray(8)
    places: list[int] = []
    links: list[int] = []
    chain = len(pages) - subpages
    for number in [*range(chain, len(pages)), *range(chain)]:  # subpages first, so that their places are known
        tags, blocks = dict(pages[number][0]), pages[number][1]
        offsets = []
        for block in blocks:
            offsets.append(len(body))
            body += block + b"\0" * (len(block) % 2)
        tiled = 322 in tags
        tags[324 if tiled else 273] = ("I", offsets)
        tags[325 if tiled else 279] = ("I", [len(block) for block in blocks])
        if number == 0 and subpages:
            tags[330] = ("I", places)
        entries = b""
        for tag in sorted(tags):
            kind, values = tags[tag]
            content = struct.pack(f"{order}{len(values)}{kind}", *values)
            if len(content) > 4:
                body += content + b"\0" * (len(content) % 2)
                content = struct.pack(order + "I", len(body) - len(content) - len(content) % 2)
            number_of_kind = {"B": 1, "H": 3, "I": 4}[kind]
            entries += struct.pack(order + "HHI", tag, number_of_kind, len(values)) + content.ljust(4, b"\0")
        place = len(body)
        body += struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0"
        if number >= chain:
            places.append(place)
        else:
            at = links[-1] if links else 4
            body[at : at + 4] = struct.pack(order + "I", place)
            links.append(len(body) - 4)
    body[:4] = head
    return bytes(body)


def _blocks(plane: np.ndarray, tile: int, rows: int) -> list[np.ndarray]:
    height, width, _ = plane.shape
    if not tile:
        return [plane[top : top + rows] for top in range(0, height, rows)]
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
    return [
        padded[top : top + tile, left : left + tile] for top in range(0, height, tile) for left in range(0, width, tile)
    ]


def _stored(block: np.ndarray, bits: int, order: str, predictor: bool) -> bytes:
    kind = block.dtype.kind
    if bits in (8, 16, 32):
        dtype = np.dtype(f"{order}{'u' if kind == 'i' and block.min() >= 0 else kind}{bits // 8}")
        if predictor:
            block = np.diff(block, axis=1, prepend=0).astype(np.uint64)  # negative differences wrap
        return block.astype(dtype).tobytes()
    single = (block[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(block), -1).astype(np.uint8), axis=1).tobytes()


def _pack(data: bytes, packing: str) -> bytes:
    if packing == "deflate":
        return zlib.compress(data)
    if packing in ("lzw", "packbits"):  # Pillow packs a row of grey, which is then cut out
        file = io.BytesIO()
        compression = "tiff_lzw" if packing == "lzw" else "packbits"
        Image.frombytes("L", (len(data), 1), data).save(file, "TIFF", compression=compression)
        with Image.open(file) as image:
            (start,), (size,) = image.tag_v2[273], image.tag_v2[279]
        return file.getvalue()[start : start + size]
    return data
