"""Generate procedural textures, square repeating pages with mip levels, and sample them with filtering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Atlas", "make_atlas"]

Array = npt.NDArray[np.float32]
Draw = Callable[[np.random.Generator], Array]

SIDE = 256
_LEVELS = 9  # 256 down to 1
_SEED = 20


class Atlas(NamedTuple):
    """Textures and where to find them.

    Attributes:
        texels: `(pages * texels of a page,)` int32, red in the lowest byte, then green and blue. The mip levels of a
            page lie one behind the other.
        families: Pages of each kind of texture.
    """

    texels: Tensor
    families: Mapping[str, tuple[int, ...]]

    def to(self, device: torch.device) -> Atlas:
        """The same on another device."""
        return Atlas(self.texels.to(device), self.families)

    def sample(self, page: Tensor, u: Tensor, v: Tensor, footprint: Tensor, channels: int = 3) -> Tensor:
        """Look textures up, bilinear in the mip level that fits.

        Args:
            page: `(n,)` int64.
            u: `(n,)` in repeats of the texture.
            v: `(n,)` likewise.
            footprint: `(n,)` side of a pixel on the surface, in repeats.
            channels: How many to return.

        Returns:
            `(channels, n)` float32, 0..1.
        """
        # The exponent of the float is the level: round(log2(x)) for x >= 1.
        bits = (footprint * (SIDE * 1.41421356)).clamp_(1.0, 2.0 ** (_LEVELS - 0.5)).view(torch.int32)
        level = torch.bitwise_right_shift(bits, 23) - 127
        side = torch.bitwise_right_shift(torch.full_like(level, SIDE), level)
        # Texels before a level: side^2 (1 + 1/4 + ...) of all finer levels.
        first = page.int() * _PAGE_TEXELS + torch.div(4 * (SIDE * SIDE - side * side), 3, rounding_mode="floor")
        x = (u - u.floor()) * side - 0.5
        y = (v - v.floor()) * side - 0.5
        left, top = x.floor(), y.floor()
        right_share, low_share = x - left, y - top
        last = side - 1
        x0, y0 = torch.bitwise_and(left.int(), last), torch.bitwise_and(top.int(), last)
        x1, y1 = torch.bitwise_and(x0 + 1, last), torch.bitwise_and(y0 + 1, last)
        upper, lower = first + y0 * side, first + y1 * side
        corners = [self.texels.index_select(0, at) for at in (upper + x0, upper + x1, lower + x0, lower + x1)]
        planes = []
        for channel in range(channels):
            a, b, c, d = (torch.bitwise_and(torch.bitwise_right_shift(q, 8 * channel), 255).float() for q in corners)
            planes.append(torch.lerp(torch.lerp(a, b, right_share), torch.lerp(c, d, right_share), low_share))
        return torch.stack(planes) / 255.0


_PAGE_TEXELS = (4 * SIDE * SIDE - 1) // 3


def make_atlas(pages_per_family: int = 6) -> Atlas:
    """Draw all textures; always the same."""
    rng = np.random.default_rng(_SEED)
    pages: list[Array] = []
    families: dict[str, tuple[int, ...]] = {}
    for name, draw in _FAMILIES.items():
        families[name] = tuple(range(len(pages), len(pages) + pages_per_family))
        pages.extend(np.clip(draw(rng), 0.0, 1.0) for _ in range(pages_per_family))
    texels = np.concatenate([_mip_chain(page) for page in pages])
    return Atlas(torch.from_numpy(texels.view("<i4").reshape(-1).astype(np.int32)), families)


def _mip_chain(page: Array) -> npt.NDArray[np.uint8]:
    levels = []
    for _ in range(_LEVELS):
        rgbx = np.zeros((*page.shape[:2], 4), np.uint8)
        rgbx[..., :3] = np.rint(page * 255)
        levels.append(rgbx.reshape(-1, 4))
        page = page.reshape(page.shape[0] // 2, 2, page.shape[1] // 2, 2, 3).mean((1, 3)) if len(page) > 1 else page
    return np.concatenate(levels)


def _noise(rng: np.random.Generator, slope: float = 1.0, stretch: float = 1.0) -> Array:
    """Repeating noise of zero mean and unit deviation whose amplitude falls as frequency^-slope."""
    fy = np.fft.fftfreq(SIDE)[:, None] * SIDE
    fx = np.fft.rfftfreq(SIDE)[None] * SIDE * stretch
    amplitude = 1.0 / np.maximum(np.hypot(fx, fy), 1.0) ** slope
    amplitude[0, 0] = 0.0
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape))
    image = np.fft.irfft2(spectrum, (SIDE, SIDE))
    return np.asarray(image / image.std(), np.float32)


def _grey(value: Array) -> Array:
    return np.repeat(value[..., None], 3, 2)


def _grid() -> tuple[Array, Array]:
    axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    return np.broadcast_to(axis, (SIDE, SIDE)), np.broadcast_to(axis[:, None], (SIDE, SIDE))


def _colours(rng: np.random.Generator, count: int, spread: float = 1.0) -> Array:
    grey = rng.uniform(0.15, 0.95, (count, 1))
    return np.asarray(np.clip(grey + spread * rng.normal(0, 0.18, (count, 3)), 0.03, 1), np.float32)


def _plaster(rng: np.random.Generator) -> Array:
    return _grey(0.85 + rng.uniform(0.01, 0.05) * _noise(rng, rng.uniform(0.6, 1.6)))


def _speckle(rng: np.random.Generator) -> Array:
    return _grey(0.6 + rng.uniform(0.06, 0.14) * _noise(rng, 0.25) + 0.08 * _noise(rng, 1.3))


def _dirt(rng: np.random.Generator) -> Array:
    base = 0.55 + 0.13 * _noise(rng, 1.0) + 0.06 * _noise(rng, 0.3)
    return _grey(base) * (1 + 0.06 * _noise(rng, 1.5)[..., None] * rng.normal(0, 1, 3).astype(np.float32))


def _grass(rng: np.random.Generator) -> Array:
    base = 0.5 + 0.16 * _noise(rng, 0.45, 2.5) + 0.10 * _noise(rng, 1.3)
    warm = _noise(rng, 1.2)[..., None] * np.array([0.06, 0.02, 0.0], np.float32)
    return _grey(base) * np.array([0.8, 1.0, 0.5], np.float32) + warm


def _foliage(rng: np.random.Generator) -> Array:
    leaves = np.maximum.reduce([_noise(rng, s) for s in (0.5, 0.7, 0.9)])
    base = 0.40 + 0.22 * leaves + 0.08 * _noise(rng, 1.2)
    return _grey(base) * np.array([0.75, 1.0, 0.45], np.float32)


def _bark(rng: np.random.Generator) -> Array:
    return _grey(0.5 + 0.16 * _noise(rng, 0.8, 0.2) + 0.07 * _noise(rng, 0.4))


def _blocks(rng: np.random.Generator, across: int, down: int, shift: float, joint: float, vary: float) -> Array:
    """Bricks, tiles and planks: a grid of pieces with joints, each of its own shade."""
    x, y = _grid()
    row = np.floor(y * down)
    column = np.floor(x * across + shift * row)
    fx, fy = x * across + shift * row - column, y * down - row
    edge = np.minimum(np.minimum(fx, 1 - fx) / across, np.minimum(fy, 1 - fy) / down)
    shades = rng.normal(0, vary, (down, across)).astype(np.float32)
    shade = shades[row.astype(int) % down, column.astype(int) % across]
    inside = np.clip(edge / joint - 0.5, 0, 1)
    dark = rng.uniform(0.25, 1.0)
    return np.asarray((0.65 + shade) * inside + dark * 0.75 * (1 - inside), np.float32)


def _brick(rng: np.random.Generator) -> Array:
    down = 2 * int(rng.integers(4, 7))
    value = _blocks(rng, down // 2, down, 0.5, 0.006, 0.09) + 0.05 * _noise(rng, 0.7)
    return _grey(value)


def _tile(rng: np.random.Generator) -> Array:
    n = int(rng.integers(2, 7))
    pieces = _blocks(rng, n, n, 0.0, 0.005, float(rng.uniform(0, 0.08)))
    return _grey(pieces + 0.03 * _noise(rng, 1.1) + np.float32(0.1))


def _planks(rng: np.random.Generator) -> Array:
    down = int(rng.integers(4, 9))
    value = _blocks(rng, 1, down, float(rng.uniform(0.3, 0.6)), 0.004, 0.09)
    return _grey(value + 0.06 * _noise(rng, 0.9, 8.0) + 0.03 * _noise(rng, 1.2))


def _wood(rng: np.random.Generator) -> Array:
    _, y = _grid()
    rings = np.sin(2 * np.pi * (y * rng.integers(3, 8) + 0.25 * _noise(rng, 1.8, 4.0)))
    return _grey(np.asarray(0.65 + 0.09 * rings + 0.05 * _noise(rng, 0.8, 8.0), np.float32))


def _checks(rng: np.random.Generator) -> Array:
    x, y = _grid()
    n = 2 * int(rng.integers(1, 5))
    pair = _colours(rng, 2)
    odd = ((np.floor(x * n) + np.floor(y * n)) % 2).astype(int)
    return np.asarray(pair[odd] + 0.03 * _noise(rng, 0.8)[..., None], np.float32)


def _stripes(rng: np.random.Generator) -> Array:
    x, _ = _grid()
    bands = _colours(rng, int(rng.integers(2, 6)))
    edges = np.sort(rng.random(len(bands) * int(rng.integers(1, 5))))
    chosen = np.searchsorted(edges, x) % len(bands)
    return np.asarray(bands[chosen] + 0.03 * _noise(rng, 0.8)[..., None], np.float32)


def _fabric(rng: np.random.Generator) -> Array:
    x, y = _grid()
    n = int(rng.integers(16, 48))
    weave = np.sin(2 * np.pi * n * x) * np.sin(2 * np.pi * n * y)
    return _grey(np.asarray(0.65 + 0.1 * weave + 0.06 * _noise(rng, 1.2), np.float32))


def _facade(rng: np.random.Generator) -> Array:
    """Two by two windows in a wall, with frames, sills and reflections."""
    x, y = _grid()
    fx, fy = (x * 2) % 1, (y * 2) % 1
    wide, high = rng.uniform(0.18, 0.40), rng.uniform(0.2, 0.42)
    inside = (np.abs(fx - 0.5) < wide) & (np.abs(fy - 0.5) < high)
    frame = (np.abs(fx - 0.5) < wide + 0.03) & (np.abs(fy - 0.5) < high + 0.03) & ~inside
    bars = inside & ((np.abs(fx - 0.5) < 0.012) | (np.abs(fy - 0.5 + high * 0.3) < 0.012))
    sill = (np.abs(fx - 0.5) < wide + 0.06) & (np.abs(fy - 0.5 - high - 0.045) < 0.02)
    wall = 0.75 + 0.04 * _noise(rng, 0.8) + 0.03 * _noise(rng, 1.5)
    if rng.random() < 0.4:
        wall = 0.1 + _blocks(rng, 8, 32, 0.5, 0.002, 0.06)
    panes = rng.uniform(0.05, 0.5, (2, 2))[np.floor(y * 2).astype(int), np.floor(x * 2).astype(int)]
    glass = panes * (1 + 0.6 * (0.5 - fy)) + 0.05 * _noise(rng, 1.6)
    value = np.where(inside & ~bars, glass, np.where(frame | bars | sill, rng.uniform(0.4, 1.0), wall))
    tint = np.where((inside & ~bars)[..., None], np.array([0.85, 0.95, 1.1]), 1.0)
    return np.asarray(value[..., None] * tint, np.float32)


def _books(rng: np.random.Generator) -> Array:
    x, y = _grid()
    count = int(rng.integers(14, 26))
    edges = np.cumsum(rng.uniform(0.4, 1.0, count))
    which = np.searchsorted(edges / edges[-1], x)
    colour = _colours(rng, count + 1, 1.4)[which]
    height = rng.uniform(0.70, 0.98, count + 1)[which]
    label = (np.abs(y - 0.5) < 0.1) & (rng.random(count + 1)[which] < 0.5)
    colour = np.where(label[..., None], 0.5 * colour + 0.45, colour)
    return np.asarray(np.where((1 - y < height)[..., None], colour, 0.06), np.float32)


def _picture(rng: np.random.Generator) -> Array:
    """Something printed: flat shapes over one another."""
    x, y = _grid()
    palette = _colours(rng, 12, 1.5)
    canvas: Array = np.tile(palette[0], (SIDE, SIDE, 1))
    for colour in palette[1:]:
        cx, cy, rx, ry = (*rng.random(2), *rng.uniform(0.05, 0.35, 2))
        if rng.random() < 0.5:
            inside = np.hypot((x - cx) / rx, (y - cy) / ry) < 1
        else:
            inside = (np.abs(x - cx) < rx) & (np.abs(y - cy) < ry)
        canvas[inside] = colour
    canvas += 0.04 * _noise(rng, 1.3)[..., None]
    frame = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < 0.03
    canvas[frame] = rng.uniform(0.05, 0.9)
    return canvas


def _stone(rng: np.random.Generator) -> Array:
    """Cells about random points, as of rubble and paving."""
    count = int(rng.integers(12, 60))
    points = rng.random((count, 2)).astype(np.float32)
    x, y = _grid()
    dx = np.abs(x[..., None] - points[:, 0])
    dy = np.abs(y[..., None] - points[:, 1])
    distance = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
    nearest = np.partition(distance, 1, axis=-1)
    shade = rng.normal(0, 0.1, count)[distance.argmin(-1)]
    joint = np.clip((nearest[..., 1] - nearest[..., 0]) / 0.02, 0, 1)
    return _grey(np.asarray((0.6 + shade) * (0.5 + 0.5 * joint) + 0.05 * _noise(rng, 0.8), np.float32))


def _clouds(rng: np.random.Generator) -> Array:
    cover = rng.uniform(-0.6, 0.8)
    return _grey(np.clip(0.5 + 0.45 * (_noise(rng, rng.uniform(1.3, 1.8)) - cover), 0, 1))


def _detail(rng: np.random.Generator) -> Array:
    return _grey(0.5 + 0.16 * _noise(rng, rng.uniform(0.4, 0.9)))


_FAMILIES: Mapping[str, Draw] = {
    "plaster": _plaster,
    "speckle": _speckle,
    "dirt": _dirt,
    "grass": _grass,
    "foliage": _foliage,
    "bark": _bark,
    "brick": _brick,
    "tile": _tile,
    "planks": _planks,
    "wood": _wood,
    "checks": _checks,
    "stripes": _stripes,
    "fabric": _fabric,
    "facade": _facade,
    "books": _books,
    "picture": _picture,
    "stone": _stone,
    "clouds": _clouds,
    "detail": _detail,
}
