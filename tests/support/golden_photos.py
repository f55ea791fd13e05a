"""Draw the photo-like images that the preprocessing goldens were made of.

An image is a dead-leaves scene: a hundred thousand or so opaque shapes
(ellipses, boxes, bars) whose sizes follow the inverse-cube law of natural
images, painted over one another, each with a colour of the scene's small
palette, a shading ramp and a share of fractal texture; then a soft lens, uneven
light, a tone curve that lets a little of the image clip, and camera noise
that grows with brightness and is weaker in colour than in lightness.

Same bytes everywhere: the only randomness is the raw 64-bit stream of PCG64
(the part of NumPy's generators that is promised never to change), and the only
arithmetic on pixels is + - * / sqrt, compare, floor and integer operations,
each rounded as IEEE 754 says, in a fixed order and with no sums left to a
library's own order. So no golden image has to be stored: their checksums are.
"""

from __future__ import annotations

import numpy as np

__all__ = ["photo"]

_F = np.float32
_TILE = 256  # side of a texture tile, a power of two
_TILES = 6
_BAND = 64  # rows developed at a time
_MIN_SIDE = 64  # smaller images are cut out of a canvas of this side
_SMALL = 12.0  # leaves up to this radius use ready-made stencils
_COVERAGE = 3.0  # total leaf area over image area
_PLACES = 14  # regions of the scene with colours and a busyness of their own


class _Raw:
    """Numbers made from the raw PCG64 stream and nothing else."""

    def __init__(self, width: int, height: int, seed: int):
        self._bits = np.random.PCG64(np.random.SeedSequence([int(seed), int(width), int(height)]))

    def words(self, n: int) -> np.ndarray:
        return self._bits.random_raw(int(n))

    def unit(self, n: int) -> np.ndarray:
        """n float64 in [0, 1), 24 bits each."""
        w = self.words((n + 1) // 2)
        both = np.empty(2 * w.size, np.float64)
        both[0::2] = (w >> np.uint64(40)).astype(np.float64)
        both[1::2] = ((w >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.float64)
        return both[:n] * (1.0 / 16777216.0)

    def ints(self, n: int, high: int) -> np.ndarray:
        """n integers in [0, high), high at most 2**31 (bias below 2**-32)."""
        return ((self.words(n) >> np.uint64(32)) * np.uint64(high) >> np.uint64(32)).astype(np.int64)

    def octets(self, n: int) -> np.ndarray:
        w = self.words((n + 7) // 8).astype("<u8", copy=False)
        return w.view(np.uint8)[:n]


def photo(width: int, height: int, seed: int) -> np.ndarray:
    """A photo-like RGB image, uint8, shape (height, width, 3); equal arguments, equal bytes."""
    if width < 1 or height < 1:
        raise ValueError("width and height must be at least 1")
    raw = _Raw(width, height, seed)
    w, h = max(width, _MIN_SIDE), max(height, _MIN_SIDE)
    tiles = _textures(raw)
    labels, table = _scene(raw, w, h)
    out = np.empty((height, width, 3), np.uint8)
    _develop(raw, labels, table, tiles, out)
    return out


# ---------------------------------------------------------------- texture


def _textures(raw: _Raw) -> np.ndarray:
    """(_TILES, _TILE, _TILE) float32 in about [-1, 1], each seamless when repeated."""
    # per tile: weight of each octave, coarse to fine, and a horizontal stretch
    recipes = (
        ((0.9, 0.7, 0.5, 0.36, 0.26, 0.18), 1),  # plain fractal: stone, skin, cloud
        ((0.2, 0.3, 0.5, 0.7, 0.6, 0.40), 1),  # mid and fine grain: grass, gravel
        ((0.0, 0.2, 0.4, 0.6, 0.8, 0.80), 1),  # fine grain: foliage, sand
        ((0.6, 0.6, 0.5, 0.4, 0.3, 0.20), 4),  # stretched: wood, water
        ((0.9, 0.4, 0.2, 0.1, 0.0, 0.00), 1),  # soft: plaster, sky
        ((0.3, 0.5, 0.6, 0.5, 0.4, 0.30), 2),  # cloth
    )
    out = np.empty((_TILES, _TILE, _TILE), _F)
    for k, (weights, stretch) in enumerate(recipes):
        acc = np.zeros((_TILE, _TILE), _F)
        for octave, weight in enumerate(weights):
            step_y = 64 >> octave
            step_x = min(_TILE // 2, step_y * stretch)
            lattice = _unit_f(raw, (_TILE // step_y, _TILE // step_x)) * _F(2) - _F(1)
            if weight:
                acc += _F(weight) * _grow(_grow(lattice, step_y, 0), step_x, 1)
        out[k] = acc * _F(0.62)
    return out


def _unit_f(raw: _Raw, shape) -> np.ndarray:
    return raw.unit(int(np.prod(shape))).astype(_F).reshape(shape)


def _grow(a: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Periodic smooth interpolation of a lattice by an integer factor along one axis."""
    if factor == 1:
        return a
    t = (np.arange(factor, dtype=_F) + _F(0.5)) / _F(factor)
    t = t * t * (_F(3) - _F(2) * t)
    nxt = np.roll(a, -1, axis)
    if axis == 0:
        cells = a[:, None, :] + t[None, :, None] * (nxt - a)[:, None, :]
        return np.ascontiguousarray(cells).reshape(-1, a.shape[1])
    cells = a[:, :, None] + t[None, None, :] * (nxt - a)[:, :, None]
    return np.ascontiguousarray(cells).reshape(a.shape[0], -1)


# ---------------------------------------------------------------- scene

_TURNS = 16  # directions a leaf can point in, over half a turn


def _directions() -> list[tuple[float, float]]:
    """(cos, sin) pairs with no trigonometry: the rational points of the circle."""
    pairs = []
    for i in range(_TURNS // 2):
        t = i / (_TURNS // 2)  # tangent of half the angle, first quarter
        c, s = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        pairs += [(c, s), (-s, c)]
    return pairs


def _mask(
    kind: int, a: float, b: float, c: float, s: float, x0: int, y0: int, x1: int, y1: int, cx: float, cy: float
) -> np.ndarray:
    """Which pixels of the box [x0,x1) x [y0,y1) a leaf covers (kind 0: ellipse, else box)."""
    dx = (np.arange(x0, x1, dtype=_F) - _F(cx))[None, :]
    dy = (np.arange(y0, y1, dtype=_F) - _F(cy))[:, None]
    u = dx * _F(c / a) + dy * _F(s / a)
    v = dy * _F(c / b) - dx * _F(s / b)
    if kind:
        np.abs(u, out=u)
        np.abs(v, out=v)
        return np.maximum(u, v, out=u) <= _F(1)
    u *= u
    v *= v
    u += v
    return u <= _F(1)


def _scene(raw: _Raw, w: int, h: int):
    """Paint the leaves; give each pixel its leaf's number, and each leaf its looks."""
    side = min(w, h)
    r_min, r_max = 2.5, max(16.0, 0.34 * side)

    # Radii with density r**-3 by inverting its distribution (square root only), taken
    # until they cover the image often enough.
    lo, hi = 1.0 / (r_max * r_max), 1.0 / (r_min * r_min)
    goal, radii, total = int(_COVERAGE * w * h), [], 0
    while total < goal:
        r = 1.0 / np.sqrt(lo + (hi - lo) * (1.0 - raw.unit(4096)))
        area = np.cumsum(np.floor(2.0 * r * r).astype(np.int64))
        keep = int(np.searchsorted(area, goal - total)) + 1
        radii.append(r[:keep])
        total += int(area[min(keep, r.size) - 1])
    radius = np.concatenate(radii)

    # The ground: a few very large leaves first, so that calm places show one surface.
    ground = 3 * _PLACES
    radius = np.concatenate([r_max * (0.8 + 1.4 * raw.unit(ground)), radius])
    n = radius.size

    kind = raw.ints(n, 8)  # 0-4 ellipse, 5-6 box, 7 thin bar
    turn = raw.ints(n, _TURNS)
    slim = 1.0 - 0.6 * raw.unit(n)
    slim[kind == 7] *= 0.22
    ax = radius / np.sqrt(slim)
    bx = np.maximum(0.6, radius * np.sqrt(slim))
    cx, cy = raw.ints(n, w + 1), raw.ints(n, h + 1)

    # The scene has places (sky, wall, foliage ...): each leaf belongs to the place it
    # stands in, takes most of its colour from there, and is left out of calm places
    # when it is small.
    sites_x, sites_y = raw.ints(_PLACES, w + 1), raw.ints(_PLACES, h + 1)
    place = np.zeros(n, np.int64)
    nearest = np.full(n, 1 << 62, np.int64)
    for k in range(_PLACES):
        d = (cx - sites_x[k]) ** 2 + (cy - sites_y[k]) ** 2
        closer = d < nearest
        place[closer] = k
        nearest[closer] = d[closer]
    busy = 0.02 + 0.98 * raw.unit(_PLACES)
    busy[0] = 0.02
    stay = raw.unit(n) < busy[place] + radius * (6.0 / side)
    stay[:ground] = True

    labels = np.zeros((h, w), np.int32)
    compass = _directions()
    stencils: dict = {}
    k_list = (kind >= 5).astype(np.int64).tolist()
    small = (ax <= _SMALL).tolist()
    # small leaves: axes rounded to half pixels so that a stencil serves many leaves
    half_a = np.maximum(1, np.floor(2.0 * ax + 0.5)).astype(np.int64)
    half_b = np.maximum(1, np.floor(2.0 * bx + 0.5)).astype(np.int64)
    rows = zip(
        range(1, n + 1),
        k_list,
        turn.tolist(),
        half_a.tolist(),
        half_b.tolist(),
        ax.tolist(),
        bx.tolist(),
        cx.tolist(),
        cy.tolist(),
        small,
        stay.tolist(),
        strict=True,
    )
    for i, k, t, ha, hb, a, b, x, y, is_small, kept in rows:
        if not kept:
            continue
        c, s = compass[t]
        if is_small:
            key = (k, t, ha, hb)
            got = stencils.get(key)
            if got is None:
                a, b = 0.5 * ha, 0.5 * hb
                ex, ey = _extent(k, a, b, c, s)
                got = (_mask(k, a, b, c, s, -ex, -ey, ex + 1, ey + 1, 0.0, 0.0), ex, ey)
                stencils[key] = got
            mask, ex, ey = got
            x0, y0, x1, y1 = x - ex, y - ey, x + ex + 1, y + ey + 1
            if x0 < 0 or y0 < 0 or x1 > w or y1 > h:
                fx0, fy0 = max(0, -x0), max(0, -y0)
                x0, y0, x1, y1 = max(0, x0), max(0, y0), min(w, x1), min(h, y1)
                if x1 <= x0 or y1 <= y0:
                    continue
                mask = mask[fy0 : fy0 + y1 - y0, fx0 : fx0 + x1 - x0]
        else:
            ex, ey = _extent(k, a, b, c, s)
            x0, y0, x1, y1 = max(0, x - ex), max(0, y - ey), min(w, x + ex + 1), min(h, y + ey + 1)
            if x1 <= x0 or y1 <= y0:
                continue
            mask = _mask(k, a, b, c, s, x0, y0, x1, y1, x, y)
        np.copyto(labels[y0:y1, x0:x1], i, where=mask)

    return labels, _looks(raw, radius, cx, cy, place, side)


def _extent(kind: int, a: float, b: float, c: float, s: float) -> tuple[int, int]:
    if kind:
        ex, ey = abs(a * c) + abs(b * s), abs(a * s) + abs(b * c)
    else:
        ex = float(np.sqrt(a * a * c * c + b * b * s * s))
        ey = float(np.sqrt(a * a * s * s + b * b * c * c))
    return int(ex) + 1, int(ey) + 1


def _looks(raw: _Raw, radius: np.ndarray, cx: np.ndarray, cy: np.ndarray, place: np.ndarray, side: int) -> np.ndarray:
    """Per leaf (row 0 is the backdrop): r, g, b, ramp x, ramp y, ramp 0, texture gain, tile address."""
    n = radius.size
    hues = 10
    light = 34.0 + 150.0 * raw.unit(hues)
    light[0], light[1] = 214.0, 11.0  # always a sky and a shadow
    tint = (raw.unit(3 * hues).reshape(hues, 3) - 0.5) * 0.62
    tint[:, 1] *= 0.5
    palette = light[:, None] * (1.0 + tint)
    local = raw.ints(3 * _PLACES, hues).reshape(_PLACES, 3)
    local[0], local[1] = (0, 0, 0), (1, 1, 2)

    which = local[place, raw.ints(n, 3)]
    vary = 1.0 + 0.36 * (raw.unit(n) + raw.unit(n) - 1.0)
    own = palette[which] * vary[:, None] + (raw.unit(3 * n).reshape(n, 3) - 0.5) * 10.0
    usual = (palette[local[:, 0]] + palette[local[:, 1]] + palette[local[:, 2]]) / 3.0
    far = np.minimum(1.0, 0.42 + radius * (10.0 / side))[:, None]
    colour = usual[place] * (1.0 - far) + own * far

    ramp = (raw.unit(2 * n).reshape(n, 2) - 0.5) * (0.50 * colour[:, 1:2]) / (radius[:, None] + 6.0)
    u = raw.unit(n)
    gain = (1.5 + 26.0 * u * u * u) * (0.35 + colour[:, 1] * (1.0 / 190.0))
    tile = raw.ints(n, _TILES)
    where = raw.ints(n, _TILE * _TILE)

    table = np.zeros((n + 1, 8), _F)
    table[0, 0:3] = palette[0]
    table[1:, 0:3] = colour
    table[1:, 3:5] = ramp
    table[1:, 5] = -(ramp[:, 0] * cx + ramp[:, 1] * cy)
    table[1:, 6] = gain
    table[1:, 7] = tile * (_TILE * _TILE) + where  # below 2**24: exact in float32
    return table


# ---------------------------------------------------------------- camera


def _develop(raw: _Raw, labels: np.ndarray, table: np.ndarray, tiles: np.ndarray, out: np.ndarray) -> None:
    h, w = labels.shape
    oh, ow = out.shape[:2]
    flat = tiles.reshape(-1)
    xs = np.arange(w, dtype=np.int32)
    xf = xs.astype(_F)
    blur, gloom, exposure, grain = (float(v) for v in raw.unit(4))
    side = _F(0.215 + 0.035 * blur)  # lens: taps (side, 1 - 2 side, side)
    mid = _F(1.0) - _F(2.0) * side
    lift = _F(0.86 + 0.42 * exposure)
    px = (xf - _F(0.5 * w)) / _F(max(w, h))
    fall_x = _F(1.0) - _F(0.5 + 0.5 * gloom) * px * px
    noise = _F(0.78 + 0.34 * grain)

    for top in range(0, oh, _BAND):
        bottom = min(oh, top + _BAND)
        a, b = max(0, top - 1), min(h, bottom + 1)
        lab = labels[a:b]
        ys = np.arange(a, b, dtype=np.int32)
        look = np.take(table, lab, axis=0)  # (rows, w, 8)
        address = look[..., 7].astype(np.int32)
        shift = address & (_TILE * _TILE - 1)
        ty = (shift // _TILE + ys[:, None]) & (_TILE - 1)
        tx = (shift + xs[None, :]) & (_TILE - 1)
        texture = np.take(flat, (address - shift) + ty * _TILE + tx)
        shade = look[..., 3] * xf[None, :]
        shade += look[..., 4] * ys.astype(_F)[:, None]
        shade += look[..., 5]
        shade += texture * look[..., 6]

        planes = []
        for ch in range(3):
            p = look[..., ch] + shade
            np.maximum(p, _F(2.0), out=p)
            # lens, rows then columns, edges repeated
            q = np.empty_like(p)
            q[:, 1:-1] = p[:, 1:-1] * mid + (p[:, :-2] + p[:, 2:]) * side
            q[:, 0] = p[:, 0] * mid + (p[:, 0] + p[:, 1]) * side
            q[:, -1] = p[:, -1] * mid + (p[:, -2] + p[:, -1]) * side
            up = q[: bottom - top] if a < top else np.concatenate([q[:1], q[: bottom - top - 1]])
            here = q[top - a : bottom - a]
            down = q[top - a + 1 :] if b > bottom else np.concatenate([q[top - a + 1 :], q[-1:]])
            planes.append((here * mid + (up + down) * side)[:, :ow])

        py = (np.arange(top, bottom, dtype=_F) - _F(0.5 * h)) / _F(max(w, h))
        fall = (_F(1.0) - _F(0.5 + 0.5 * gloom) * py * py)[:, None] * fall_x[None, :ow] * lift

        count = (bottom - top) * ow
        bell = raw.octets(16 * count).reshape(16, bottom - top, ow)
        luma = _bell(bell[0:4])
        for ch in range(3):
            v = planes[ch] * fall - _F(5.0)  # black point
            # tone: straight up to 200, then bending towards white, clipped at the end
            over = np.maximum(v - _F(200.0), _F(0.0))
            v -= over * over / (over + _F(140.0))
            sigma = np.sqrt(np.maximum(v, _F(0.0)) * _F(0.030) + _F(0.35)) * noise
            v += sigma * (luma + _F(0.5) * _bell(bell[4 + 4 * ch : 8 + 4 * ch]))
            v += _F(0.5)
            np.floor(v, out=v)
            np.clip(v, _F(0.0), _F(255.0), out=v)
            out[top:bottom, :, ch] = v.astype(np.uint8)


def _bell(octets: np.ndarray) -> np.ndarray:
    """A near-normal deviate of unit variance from four bytes."""
    s = octets[0].astype(np.int32)
    for k in range(1, 4):
        s = s + octets[k]
    return (s - 510).astype(_F) * _F(1.0 / 147.8)
