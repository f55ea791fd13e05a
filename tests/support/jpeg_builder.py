"""JPEGs of every kind, coded by hand, with the pixels that they hold, computed from their coefficients.

Neither needs a JPEG library, so what a decoder gives can be held against something that is not one of its kin. After
ITU T.81 and JFIF; chroma is interpolated as libjpeg does: by a triangle where it is halved, repeated where coarser.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from depth_anything_3.diagnostics.synthetic import photo

__all__ = ["HandMade", "hand_made"]

_STEP = 6  # of quantisation, for every coefficient
_ZIGZAG = sorted(range(64), key=lambda at: (at // 8 + at % 8, at % 8 if (at // 8 + at % 8) % 2 == 0 else at // 8))
_FREQUENCY, _PLACE = np.mgrid[:8, :8]
_DCT = np.where(_FREQUENCY == 0, np.sqrt(0.125), 0.5) * np.cos((2 * _PLACE + 1) * _FREQUENCY * np.pi / 16)
_AC_SYMBOLS = [0x00, 0xF0, *((run << 4) | size for run in range(16) for size in range(1, 11))]

Sampling = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class HandMade:
    """A JPEG.

    Attributes:
        data: the file.
        rgb: (H, W, 3) uint8, what it shows.
    """

    data: bytes
    rgb: np.ndarray


@dataclass(frozen=True, eq=False)
class _Component:
    """One colour: its sampling factors, size in samples, and quantised (rows, columns, 64) coefficients in zigzag."""

    factors: tuple[int, int]
    hw: tuple[int, int]
    blocks: np.ndarray


def hand_made(
    width: int,
    height: int,
    sampling: Sampling = ((1, 1), (1, 1), (1, 1)),
    *,
    seed: int = 0,
    adobe: int | None = None,
    names: bytes = b"\1\2\3\4",
    restart: int = 0,
    progressive: bool = False,
) -> HandMade:
    """Code a photo-like image.

    Args:
        width, height: in pixels.
        sampling: horizontal and vertical factors of each component: one is grey, three colour, four CMYK.
        seed: of the image.
        adobe: colour transform in an Adobe marker; without one there is a JFIF marker, for up to three components.
        names: of the components.
        restart: MCUs between restart markers; 0: none.
        progressive: coefficients in several scans.
    """
    stored = _stored_planes(photo(width, height, seed), len(sampling), adobe, names)
    most = max(h for h, _ in sampling), max(v for _, v in sampling)
    components = [_component(plane, factors, most) for plane, factors in zip(stored, sampling, strict=True)]
    planes = [_upsampled(one, most, (height, width)) for one in components]
    signs = b"" if len(sampling) == 4 else _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    if adobe is not None:
        signs = _segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    elif names[:3] == b"RGB":
        signs = b""
    frame = struct.pack(">BHHB", 8, height, width, len(sampling))
    frame += b"".join(bytes([name, h << 4 | v, 0]) for name, (h, v) in zip(names, sampling))  # noqa: B905
    dc = bytes([0, *[0] * 3, 12, *[0] * 12, *range(12)])
    ac = bytes([0x10, *[0] * 7, len(_AC_SYMBOLS), *[0] * 8, *_AC_SYMBOLS])
    data = b"\xff\xd8" + signs + _segment(0xDB, bytes([0, *[_STEP] * 64]))
    data += _segment(0xC2 if progressive else 0xC0, frame)
    data += _segment(0xC4, dc) + _segment(0xC4, ac)
    data += _segment(0xDD, struct.pack(">H", restart)) if restart else b""
    if progressive:
        data += _scan(components, names, (0, 0), most, restart)
        for index in range(len(components)):
            for band in ((1, 5), (6, 63)):
                data += _scan([components[index]], names[index:], band, most, restart)
    else:
        data += _scan(components, names, (0, 63), most, restart)
    return HandMade(data + b"\xff\xd9", _shown(planes, adobe, names))


def _stored_planes(rgb: np.ndarray, count: int, adobe: int | None, names: bytes) -> list[np.ndarray]:
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    if count == 1:
        return [green]
    as_it_is = [red, green, blue]
    if count == 4:
        as_it_is.append(255 - 0.3 * red)
    if adobe == 0 or names[:3] == b"RGB" or (count == 4 and adobe != 2):
        return as_it_is
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return [luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402, *as_it_is[3:]]


def _component(plane: np.ndarray, factors: tuple[int, int], most: tuple[int, int]) -> _Component:
    """Box-averaged to its size, continued to whole MCUs, transformed and quantised."""
    (h, v), (height, width) = factors, plane.shape
    hw = -(-height * v // most[1]), -(-width * h // most[0])
    across, down = most[0] // h, most[1] // v
    padded = np.pad(plane, ((0, hw[0] * down - height), (0, hw[1] * across - width)), "edge")
    small = padded.reshape(hw[0], down, hw[1], across).mean((1, 3))
    rows, columns = -(-height // (8 * most[1])) * v, -(-width // (8 * most[0])) * h
    whole = np.pad(small, ((0, 8 * rows - hw[0]), (0, 8 * columns - hw[1])), "edge") - 128
    blocks = whole.reshape(rows, 8, columns, 8).swapaxes(1, 2)
    quantised = np.rint(_DCT @ blocks @ _DCT.T / _STEP).astype(int)
    return _Component(factors, hw, quantised.reshape(rows, columns, 64)[..., _ZIGZAG])


def _upsampled(one: _Component, most: tuple[int, int], hw: tuple[int, int]) -> np.ndarray:
    """Its samples as a decoder gets them, brought to the image's size."""
    rows, columns = one.blocks.shape[:2]
    natural = np.empty_like(one.blocks)
    natural[..., _ZIGZAG] = one.blocks
    blocks = _DCT.T @ (natural.reshape(rows, columns, 8, 8) * float(_STEP)) @ _DCT
    samples = np.clip(np.rint(blocks.swapaxes(1, 2).reshape(8 * rows, 8 * columns) + 128), 0, 255)
    samples = samples[: one.hw[0], : one.hw[1]]
    across, down = most[0] // one.factors[0], most[1] // one.factors[1]
    triangle = across <= 2 and down <= 2 and (across == 1 or one.hw[1] > 2)
    for axis, factor in ((0, down), (1, across)):
        if factor == 2 and triangle:
            before, after = (np.pad(samples, [(1, 1) if axis == place else (0, 0) for place in (0, 1)], "edge"),) * 2
            before = np.delete(before, (-1, -2), axis)
            after = np.delete(after, (0, 1), axis)
            both = np.stack([0.75 * samples + 0.25 * before, 0.75 * samples + 0.25 * after], axis + 1)
            samples = both.reshape([2 * size if axis == place else size for place, size in enumerate(samples.shape)])
        else:
            samples = samples.repeat(factor, axis)
    return samples[: hw[0], : hw[1]]


def _shown(planes: list[np.ndarray], adobe: int | None, names: bytes) -> np.ndarray:
    if len(planes) == 1:
        planes = planes * 3
    elif adobe == 2 or (len(planes) == 3 and adobe != 0 and names[:3] != b"RGB"):
        luma, cb, cr = planes[0], planes[1] - 128, planes[2] - 128
        rgb = [luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb]
        planes = [*(np.clip(one, 0, 255) for one in rgb), *planes[3:]]
        if adobe == 2:  # YCCK holds the complement of what CMYK holds
            planes = [*(255 - one for one in planes[:3]), planes[3]]
    if len(planes) == 4:  # stored inverted, as Adobe does: the product of colour and black
        planes = [one * planes[3] / 255 for one in planes[:3]]
    return np.rint(np.clip(np.stack(planes, axis=-1), 0, 255)).astype(np.uint8)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _scan(
    components: Sequence[_Component], names: bytes, band: tuple[int, int], most: tuple[int, int], restart: int
) -> bytes:
    """A scan's header and coded data, with coefficients of the band only."""
    header = bytes([len(components), *(byte for name in names[: len(components)] for byte in (name, 0))])
    data = _segment(0xDA, header + bytes([*band, 0]))
    bits, last, markers = "", [0] * len(components), 0
    for count, mcu in enumerate(_mcus(components)):
        if restart and count and count % restart == 0:
            data += _packed(bits) + bytes([0xFF, 0xD0 + markers % 8])
            bits, last, markers = "", [0] * len(components), markers + 1
        for index, block in mcu:
            if band[0] == 0:
                bits += _dc(int(block[0]) - last[index])
                last[index] = int(block[0])
            if band[1] > 0:
                bits += _ac(block[max(band[0], 1) : band[1] + 1])
    return data + _packed(bits)


def _mcus(components: Sequence[_Component]) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Each MCU's blocks, with the place of their component."""
    if len(components) == 1:  # not interleaved: block by block, and none beyond the component's own size
        (one,) = components
        rows, columns = -(-one.hw[0] // 8), -(-one.hw[1] // 8)
        yield from ([(0, one.blocks[row, column])] for row in range(rows) for column in range(columns))
        return
    (h, v), blocks = components[0].factors, components[0].blocks
    for row in range(blocks.shape[0] // v):
        for column in range(blocks.shape[1] // h):
            yield [
                (index, one.blocks[row * one.factors[1] + y, column * one.factors[0] + x])
                for index, one in enumerate(components)
                for y in range(one.factors[1])
                for x in range(one.factors[0])
            ]


def _dc(difference: int) -> str:
    size = abs(difference).bit_length()
    return f"{size:04b}" + _magnitude(difference, size)


def _ac(coefficients: np.ndarray) -> str:
    bits, run = "", 0
    places = np.flatnonzero(coefficients)
    for value in coefficients[: places[-1] + 1 if places.size else 0].tolist():
        if value == 0:
            run += 1
            continue
        bits += f"{_AC_SYMBOLS.index(0xF0):08b}" * (run // 16)
        size = abs(value).bit_length()
        bits += f"{_AC_SYMBOLS.index((run % 16) << 4 | size):08b}" + _magnitude(value, size)
        run = 0
    ended = places.size and places[-1] == len(coefficients) - 1
    return bits if ended else bits + f"{_AC_SYMBOLS.index(0):08b}"


def _magnitude(value: int, size: int) -> str:
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
