"""Cast rays against solids: first hits, shadows, and distances to the nearest solid.

Pixels are processed in square tiles. A cone (or ball) around the rays (or points) of a tile selects the solids that
they can hit, usually a few of a hundred. Only those are tested, for all pixels of many tiles at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scenes.solids import Solids

__all__ = ["Cone", "FirstHit", "cast", "nearest_gap", "shadow"]

_BIG = 1e30
_MISS = 1e8  # beyond every scene
_INDEX_BITS = 9  # of a tile's list; solids past 2**9 in one list are not tried
_GAPS_SEEN = 40  # times the reach: beyond, the gap between things is a few pixels
_ELEMENTS_AT_ONCE = 160_000  # intermediate arrays of this size stay in a core's cache


class Cone(NamedTuple):
    """A cone per tile: unit axis `(B, T, 3)` and cosine and sine of the half angle `(B, T)`."""

    axis: Tensor
    cos: Tensor
    sin: Tensor


class FirstHit(NamedTuple):
    """`t` `(B, T, P)` multiples of the ray's direction, `solid` `(B, T, P)` its index; t >= 1e8 where none."""

    t: Tensor
    solid: Tensor


def cone_of(rays: Tensor) -> Cone:
    """Compute the cone around directions `(B, T, P, 3)` of any length."""
    x, y, z = rays.unbind(-1)
    scale = (x * x + y * y + z * z).rsqrt()
    x, y, z = x * scale, y * scale, z * scale
    axis = torch.nn.functional.normalize(torch.stack([x.mean(2), y.mean(2), z.mean(2)], dim=-1), dim=-1)
    u, v, w = axis.unsqueeze(2).unbind(-1)
    cos = (x * u + y * v + z * w).amin(2).clamp(0.0, 1.0)
    return Cone(axis, cos, (1.0 - cos * cos).sqrt())


def cast(boxes: Solids, quadrics: Solids, rays: Tensor) -> FirstHit:
    """Find the first hits of rays from the camera.

    Args:
        boxes: The boxes; their indices come first.
        quadrics: The quadrics.
        rays: `(B, T, P, 3)` directions in the camera frame.
    """
    cone = cone_of(rays)
    origin = torch.zeros_like(boxes.centre[:, 0])
    result = None
    for solids, meet, first in ((boxes, _meet_boxes, 0), (quadrics, _meet_quadrics, boxes.count)):
        t = torch.full(rays.shape[:3], _MISS, device=rays.device)
        index = torch.zeros(rays.shape[:3], dtype=torch.long, device=rays.device)
        for rows, tiles, chosen in _tile_lists(_in_cone(solids, origin, cone), rays.shape[2]):
            enter, _ = meet(solids, rows, chosen, origin[rows], rays[rows, tiles])
            # Positive floats sort as integers do, so the place in the list can ride in the lowest bits.
            place = torch.arange(chosen.shape[1], dtype=torch.int32, device=rays.device).view(1, -1, 1)
            mask = (1 << _INDEX_BITS) - 1
            packed = (enter.clamp(1e-3, _MISS).view(torch.int32) & ~mask | place).amin(1)
            t[rows, tiles] = (packed & ~mask).view(torch.float32)
            index[rows, tiles] = torch.gather(chosen, 1, (packed & mask).long())
        index += first
        if result is None:
            result = FirstHit(t, index)
        else:
            nearer = t < result.t
            result = FirstHit(torch.minimum(t, result.t), torch.where(nearer, index, result.solid))
    assert result is not None
    return result


def shadow(boxes: Solids, quadrics: Solids, light: Tensor, points: Tensor, owner: Tensor) -> Tensor:
    """Find the points that a light does not reach.

    Args:
        boxes: The boxes.
        quadrics: The quadrics.
        light: `(B, 3)` its position in the camera frame.
        points: `(B, T, P, 3)` the points.
        owner: `(B, T, P)` the solid each point lies on: convex solids do not shade their lit side.

    Returns:
        `(B, T, P)` float32, 1 where in shadow and 0 where lit.
    """
    rays = points - light[:, None, None]
    cone = cone_of(rays)
    reach = _length(rays).amax(2)
    shaded = torch.zeros(points.shape[:3], device=points.device)
    for solids, meet, first in ((boxes, _meet_boxes, 0), (quadrics, _meet_quadrics, boxes.count)):
        for rows, tiles, chosen in _tile_lists(_in_cone(solids, light, cone, reach), points.shape[2]):
            enter, _ = meet(solids, rows, chosen, light[rows], rays[rows, tiles])
            own = ((chosen + first).unsqueeze(2) == owner[rows, tiles].unsqueeze(1)).float()
            nearest = (enter + own * _MISS).amin(1)
            shaded[rows, tiles] = torch.maximum(shaded[rows, tiles], (nearest < 0.9995).float())
    return shaded


def nearest_gap(boxes: Solids, quadrics: Solids, points: Tensor, reach: float) -> Tensor:
    """Distance from points `(B, T, P, 3)` to the nearest solid, at most `reach`; `(B, T, P)` metres."""
    centre = points.mean(2)
    ball = _length(points - centre.unsqueeze(2)).amax(2)
    gap = torch.full(points.shape[:3], reach, device=points.device)
    near_enough = torch.linalg.vector_norm(centre, dim=-1, keepdim=True) < _GAPS_SEEN * reach
    for solids, distance in ((boxes, _box_distance), (quadrics, _quadric_distance)):
        # (B, T, K) per axis of the solids: how far a tile's middle is outside their boxes.
        squared = torch.zeros(1, device=points.device)
        for axis in range(3):
            across = solids.to_local[:, :, axis]
            start = (across * solids.centre).sum(-1).unsqueeze(1)
            local = torch.bmm(centre, across.transpose(1, 2)) - start
            squared = squared + ((local.abs_() - 1.0).clamp_min_(0.0) * solids.half[:, None, :, axis]).square_()
        outside = squared.sqrt()
        for rows, tiles, chosen in _tile_lists((outside < (ball + reach).unsqueeze(2)) & near_enough, points.shape[2]):
            near = distance(solids, rows, chosen, points[rows, tiles]).amin(1)
            gap[rows, tiles] = torch.minimum(gap[rows, tiles], near)
    return gap


def _in_cone(solids: Solids, origin: Tensor, cone: Cone, reach: Tensor | None = None) -> Tensor:
    """`(B, T, K)`: whether a solid's bounding sphere can meet a ray of the tile."""
    offset = solids.centre - origin.unsqueeze(1)
    distance = torch.linalg.vector_norm(offset, dim=-1).clamp_min(1e-6)
    sin = (solids.radius / distance).unsqueeze(1)
    inside = sin >= 1.0
    sin = sin.clamp(max=1.0)
    cos = (1.0 - sin * sin).sqrt()
    along = torch.einsum("btc,bkc->btk", cone.axis, offset / distance.unsqueeze(-1))
    widened = cone.cos.unsqueeze(2) * cos - cone.sin.unsqueeze(2) * sin  # cosine of the sum of the half angles
    backwards = cone.sin.unsqueeze(2) * cos + cone.cos.unsqueeze(2) * sin < 0.0
    found: Tensor = inside | backwards | (along >= widened - 1e-5)
    if reach is not None:
        found &= (distance - solids.radius).unsqueeze(1) < reach.unsqueeze(2)
    return found


def _tile_lists(wanted: Tensor, pixels: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Groups of tiles with lists of about equal length: scene of each, tile of each, solids `(n, m)` of each."""
    counts = wanted.sum(2)
    order = torch.argsort(counts.flatten(), stable=True)
    ordered = counts.flatten()[order].tolist()
    start = next((i for i, n in enumerate(ordered) if n), len(ordered))
    tiles = wanted.shape[1]
    while start < len(ordered):
        longest = min(ordered[start] + max(1, ordered[start] // 4), 1 << _INDEX_BITS)
        room = max(1, _ELEMENTS_AT_ONCE // (pixels * longest))
        stop = start
        while stop < len(ordered) and stop - start < room and (ordered[stop] <= longest or stop == start):
            stop += 1
        some = order[start:stop]
        rows, columns = some // tiles, some % tiles
        length = min(max(ordered[stop - 1], 1), 1 << _INDEX_BITS)
        # Stable: lists are the same whatever else is in the group. Fillers are real solids that cannot be met.
        chosen = torch.argsort(wanted[rows, columns].to(torch.uint8), dim=1, descending=True, stable=True)[:, :length]
        yield rows, columns, chosen
        start = stop


def _local(solids: Solids, rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Maps `(n, m, 3, 3)` and centres `(n, m, 3)` of the chosen solids."""
    at = rows.unsqueeze(1)
    return solids.to_local[at, chosen], solids.centre[at, chosen]


def _meet_boxes(solids: Solids, rows: Tensor, chosen: Tensor, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Compute where rays `(n, P, 3)` enter and leave boxes: `(n, m, P)` each; `enter` is huge on a miss."""
    to_local, centre = _local(solids, rows, chosen)
    n, m = chosen.shape
    direction = torch.bmm(to_local.reshape(n, 3 * m, 3), rays.transpose(1, 2)).view(n, m, 3, -1)
    start = torch.einsum("nmij,nmj->nmi", to_local, origin.unsqueeze(1) - centre).unsqueeze(3)
    inverse = direction.reciprocal().clamp_(-_BIG, _BIG)
    middle = inverse * start
    width = inverse.abs_()
    near, far = middle + width, middle.sub_(width)
    enter = -torch.minimum(torch.minimum(near[:, :, 0], near[:, :, 1]), near[:, :, 2])
    leave = -torch.maximum(torch.maximum(far[:, :, 0], far[:, :, 1]), far[:, :, 2])
    return _unless_missed(enter, leave)


def _meet_quadrics(solids: Solids, rows: Tensor, chosen: Tensor, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Do the same as :func:`_meet_boxes` for quadrics."""
    to_local, centre = _local(solids, rows, chosen)
    at = rows.unsqueeze(1)
    round_z, slab = solids.round_z[at, chosen], solids.slab[at, chosen]
    metric = torch.stack([torch.ones_like(round_z), torch.ones_like(round_z), round_z], dim=-1)
    start = torch.einsum("nmij,nmj->nmi", to_local, origin.unsqueeze(1) - centre)
    weighted = to_local * metric.unsqueeze(-1)
    form = torch.einsum("nmki,nmkj->nmij", weighted, to_local)
    squares = torch.stack(
        [
            form[..., 0, 0],
            form[..., 1, 1],
            form[..., 2, 2],
            *(2.0 * form[..., i, j] for i, j in ((0, 1), (0, 2), (1, 2))),
        ],
        dim=-1,
    )
    x, y, z = rays.unbind(-1)
    monomials = torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], dim=1)
    a = torch.bmm(squares, monomials).clamp_min_(1e-12)
    across = torch.einsum("nmk,nmkj->nmj", start, weighted)
    linear = torch.bmm(torch.cat([across, to_local[:, :, 2]], dim=1), rays.transpose(1, 2))
    m = chosen.shape[1]
    b, axial = linear[:, :m], linear[:, m:]
    c = ((start * start * metric).sum(-1) - 1.0).unsqueeze(2)
    discriminant = b * b - a * c
    root = discriminant.clamp_min(0.0).sqrt_()
    inverse_a = a.reciprocal_()
    inverse = axial.reciprocal().clamp_(-_BIG, _BIG)
    low, high = (slab[..., :1] - start[..., 2:]) * inverse, (slab[..., 1:] - start[..., 2:]) * inverse
    enter = torch.maximum((-b - root).mul_(inverse_a), torch.minimum(low, high))
    leave = torch.minimum((root - b).mul_(inverse_a), torch.maximum(low, high))
    enter, leave = _unless_missed(enter, leave)
    return enter + discriminant.neg_().clamp_min_(0.0).mul_(_BIG).clamp_max_(_MISS), leave


def _unless_missed(enter: Tensor, leave: Tensor) -> tuple[Tensor, Tensor]:
    """Make `enter` huge where the ray misses, or where it starts inside or beyond."""
    penalty = (enter - leave).clamp_min_(0.0) + (-enter).clamp_min_(0.0)
    return enter + penalty.mul_(_BIG).clamp_max_(_MISS), leave


def _box_distance(solids: Solids, rows: Tensor, chosen: Tensor, points: Tensor) -> Tensor:
    local = _local_points(solids, rows, chosen, points)
    half = solids.half[rows.unsqueeze(1), chosen].unsqueeze(3)
    beyond = (local.abs() - 1.0).clamp_min_(0.0) * half
    return beyond.square_().sum(2).sqrt_()


def _quadric_distance(solids: Solids, rows: Tensor, chosen: Tensor, points: Tensor) -> Tensor:
    """Roughly: the local distance in units of the smallest half extent."""
    local = _local_points(solids, rows, chosen, points)
    at = rows.unsqueeze(1)
    smallest = solids.half[at, chosen].amin(-1).unsqueeze(2)
    x, y, z = local.unbind(2)
    radial = x * x + y * y
    slab = solids.slab[at, chosen].unsqueeze(3)
    axial = torch.maximum(z - slab[:, :, 1], slab[:, :, 0] - z)
    rounded = (radial + z * z * solids.round_z[at, chosen].unsqueeze(2)).sqrt_() - 1.0
    return torch.maximum(rounded, axial).clamp_min_(0.0) * smallest


def _local_points(solids: Solids, rows: Tensor, chosen: Tensor, points: Tensor) -> Tensor:
    """`(n, m, 3, P)` points `(n, P, 3)` in the local frames."""
    to_local, centre = _local(solids, rows, chosen)
    n, m = chosen.shape
    turned = torch.bmm(to_local.reshape(n, 3 * m, 3), points.transpose(1, 2)).view(n, m, 3, -1)
    return turned - torch.einsum("nmij,nmj->nmi", to_local, centre).unsqueeze(3)


def _length(x: Tensor) -> Tensor:
    """Compute the length of vectors along the last axis; much faster than the general norm."""
    a, b, c = x.unbind(-1)
    return (a * a + b * b + c * c).sqrt()
