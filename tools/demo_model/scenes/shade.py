"""Shade ray hits in linear RGB, with sky and haze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scenes.rays import cast, nearest_gap, shadow
from scenes.solids import Solids
from scenes.textures import Atlas

__all__ = ["Lighting", "Shaded", "trace"]

_NOTHING = 1e6
_CORNER_REACH = 0.5  # metres within which surroundings take light away


@dataclass(frozen=True)
class Lighting:
    """Light and sky of a batch of scenes, camera frame, float32.

    Attributes:
        position: `(B, 3)` of the light.
        colour: `(B, 3)`.
        ambient: `(B, 3)` from above.
        bounce: `(B, 3)` from below.
        up: `(B, 3)` unit.
        haze: `(B,)` metres.
        horizon: `(B, 3)`.
        zenith: `(B, 3)`.
        clouds: `(B, 2)` page and opacity.
        to_world: `(B, 3, 3)` from camera to world axes.
        lamp: `(B,)` 1 where the light is near and weakens with distance, 0 for the sun.
    """

    position: Tensor
    colour: Tensor
    ambient: Tensor
    bounce: Tensor
    up: Tensor
    haze: Tensor
    horizon: Tensor
    zenith: Tensor
    clouds: Tensor
    to_world: Tensor
    lamp: Tensor


@dataclass(frozen=True)
class Shaded:
    """What tiles of pixels see.

    Attributes:
        colour: `(B, T, P, 3)` linear RGB.
        depth: `(B, T, P)` metres along the optical axis; inf in the sky.
        normal: `(B, T, P, 3)` unit, camera frame, towards the camera; 0 in the sky.
    """

    colour: Tensor
    depth: Tensor
    normal: Tensor


def trace(boxes: Solids, quadrics: Solids, light: Lighting, atlas: Atlas, rays: Tensor, pixel_angle: Tensor) -> Shaded:
    """Follow rays `(B, T, P, 3)` whose z is 1 from the camera; `pixel_angle` `(B,)` is a pixel's side at distance 1."""
    hit = cast(boxes, quadrics, rays)
    table = torch.cat([_table(boxes, is_box=1.0), _table(quadrics, is_box=0.0)], dim=2)
    scenes = range(len(rays))
    # One scene at a time: its arrays stay in a core's cache.
    rays_by_axis = [rays[i].reshape(-1, 3).T.contiguous() for i in scenes]
    surfaces = [_surface(table[i], hit.solid[i].flatten(), rays_by_axis[i]) for i in scenes]
    sky = hit.t > _NOTHING
    t = torch.stack([surface.t for surface in surfaces]).view_as(hit.t)
    points = rays * t.masked_fill(sky, 1.0).unsqueeze(-1)
    normal = torch.stack([surface.normal.T for surface in surfaces]).view_as(rays)
    shaded = shadow(boxes, quadrics, light.position, points, hit.solid)
    openness = nearest_gap(boxes, quadrics, points + normal * _CORNER_REACH, _CORNER_REACH) / _CORNER_REACH
    colours = [
        _colour(
            surfaces[i], light, i, atlas, rays_by_axis[i], sky[i].flatten(), float(pixel_angle[i]),
            shaded[i].flatten(), openness[i].flatten(),
        )
        for i in scenes
    ]  # fmt: skip
    colour = torch.stack([one.T for one in colours]).view_as(rays)
    return Shaded(colour, t.masked_fill(sky, torch.inf), normal.masked_fill(sky.unsqueeze(-1), 0.0))


class _Surface(NamedTuple):
    """Per pixel: exact ray parameter `(n,)`, normal `(3, n)`, texture coordinates in metres, and look `(7, n)`."""

    t: Tensor
    normal: Tensor
    u: Tensor
    v: Tensor
    look: Tensor


def _surface(table: Tensor, index: Tensor, rays: Tensor) -> _Surface:
    """Meet the solid of each pixel once more, now exactly and with all that shading needs.

    Args:
        table: `(29, K)` of the scene.
        index: `(n,)` the solid of each pixel.
        rays: `(3, n)`.
    """
    (*matrix, sx, sy, sz, hx, hy, hz, low, high, round_z, is_box, page, repeat_m, red, green, blue, gloss, glow) = (
        table.index_select(1, index).unbind(0)
    )
    rx, ry, rz = rays.unbind(0)
    dx, dy, dz = (matrix[3 * i] * rx + matrix[3 * i + 1] * ry + matrix[3 * i + 2] * rz for i in range(3))
    ix, iy, iz = (d.reciprocal().clamp_(-1e30, 1e30) for d in (dx, dy, dz))
    tx, ty, tz = (-s * i - i.abs() for s, i in ((sx, ix), (sy, iy), (sz, iz)))
    t_box = torch.maximum(torch.maximum(tx, ty), tz)
    a = (dx * dx + dy * dy + dz * dz * round_z).clamp_min_(1e-12)
    b = dx * sx + dy * sy + dz * sz * round_z
    c = sx * sx + sy * sy + sz * sz * round_z - 1.0
    t_side = (-b - (b * b - a * c).clamp_min_(0.0).sqrt_()) / a
    t_cap = torch.minimum((low - sz) * iz, (high - sz) * iz)
    box = is_box > 0.5
    cap = (t_cap > t_side) & ~box
    t = torch.where(box, t_box, torch.maximum(t_side, t_cap))
    x, y, z = sx + dx * t, sy + dy * t, sz + dz * t
    on_x, on_y, on_z = box & (t_box == tx), box & (t_box == ty) & (tx != t_box), cap | (box & (t_box == tz))
    curved = ~(box | cap)
    nx, ny, nz = (
        torch.where(curved, bent, torch.where(flat, -d.sign(), 0.0))
        for bent, flat, d in ((x, on_x, dx), (y, on_y, dy), (z * round_z, on_z, dz))
    )
    normal = torch.stack([matrix[i] * nx + matrix[3 + i] * ny + matrix[6 + i] * nz for i in range(3)])
    # Textures lie on the plane across the axis that the surface faces most, in metres.
    fx, fy, fz = (nx / hx).abs(), (ny / hy).abs(), (nz / hz).abs()
    facing_x, facing_y = (fx >= fy) & (fx >= fz), (fy > fx) & (fy >= fz)
    u = torch.where(facing_x, z * hz, x * hx)
    v = torch.where(facing_y, z * hz, y * hy)
    look = torch.stack([page, repeat_m, red, green, blue, gloss, glow])
    return _Surface(t, normal / _length(normal), u, v, look)


def _table(solids: Solids, *, is_box: float) -> Tensor:
    """`(B, 29, K)`: all about a solid in a column; its start is the camera's place in its own frame."""
    start = -torch.einsum("bkij,bkj->bki", solids.to_local, solids.centre)
    flags = torch.stack([solids.round_z, torch.full_like(solids.round_z, is_box)], -1)
    rows = [solids.to_local.flatten(2), start, solids.half, solids.slab, flags, solids.look]
    return torch.cat(rows, dim=-1).transpose(1, 2).contiguous()


def _colour(
    surface: _Surface,
    light: Lighting,
    scene: int,
    atlas: Atlas,
    rays: Tensor,
    sky: Tensor,
    pixel_angle: float,
    shaded: Tensor,
    openness: Tensor,
) -> Tensor:
    """Compute linear RGB `(3, n)` of one scene's pixels."""
    points = rays * surface.t.masked_fill(sky, 1.0)
    distance = _length(points)
    view = points / distance
    albedo = _albedo(surface, atlas, points[2], view, pixel_angle)
    position = light.position[scene].unsqueeze(1)
    to_light = position - points
    away = _length(to_light)
    to_light = to_light / away
    falloff = 4.0 / (1.0 + away * away) if bool(light.lamp[scene]) else torch.ones_like(away)
    facing = _dot(surface.normal, to_light).clamp_(0.0, 1.0)
    reached = (1.0 - shaded) * falloff
    upness = 0.5 + 0.5 * _dot(surface.normal, light.up[scene].unsqueeze(1))
    bounce, ambient, sun = (c[scene].unsqueeze(1) for c in (light.bounce, light.ambient, light.colour))
    # What is near takes light away, but never all.
    around = torch.lerp(bounce, ambient, upness) * (0.35 + 0.65 * openness)
    gloss, glow = surface.look[5], surface.look[6]
    lit = albedo * (around + (facing * reached) * sun + glow)
    halfway = to_light - view
    shine = (_dot(surface.normal, halfway) / _length(halfway)).clamp_(0.0, 1.0).pow_(40.0) * gloss * reached
    mirrored = gloss * (1.0 + _dot(surface.normal, view)).clamp_(0.0, 1.0).pow_(3.0) * 0.3 * openness
    horizon = light.horizon[scene].unsqueeze(1)
    lit += shine * sun + mirrored * horizon
    colour = torch.lerp(horizon, lit, torch.exp(distance / -float(light.haze[scene])))
    where = sky.nonzero().squeeze(1)
    if len(where):
        colour[:, where] = _sky(light, scene, atlas, view[:, where])
    return colour


def _albedo(surface: _Surface, atlas: Atlas, depth: Tensor, view: Tensor, pixel_angle: float) -> Tensor:
    """Compute the texture `(3, n)`, with stains and fine grain."""
    page, repeat = surface.look[0].long(), surface.look[1]
    facing = (-_dot(surface.normal, view)).clamp_(0.02, 1.0)
    # A pixel covers more along the line of sight; the mean of both directions blurs neither far too much.
    footprint = depth * pixel_angle / (facing.sqrt_() * repeat)
    u, v = surface.u / repeat, surface.v / repeat
    base = atlas.sample(page, u, v, footprint)
    pages = atlas.families["detail"]
    stain = page % len(pages) + pages[0]
    coarse = atlas.sample(stain, u / 7.3, v / 7.3, footprint / 7.3, channels=1)
    fine = atlas.sample(stain, u / 0.17, v / 0.17, footprint / 0.17, channels=1)
    return base * (0.8 + 0.4 * coarse) * (0.85 + 0.3 * fine) * surface.look[2:5]


def _sky(light: Lighting, scene: int, atlas: Atlas, direction: Tensor) -> Tensor:
    """Compute the sky along unit directions `(3, n)`."""
    horizon, zenith = light.horizon[scene].unsqueeze(1), light.zenith[scene].unsqueeze(1)
    world = light.to_world[scene] @ direction
    height = world[1].clamp(0.0, 1.0)
    colour = torch.lerp(horizon, zenith, height.pow(0.6))
    spread = 0.35 / (height + 0.12)
    page = light.clouds[scene, 0].long().expand(height.shape)
    cover = atlas.sample(page, world[0] * spread, world[2] * spread, torch.full_like(height, 0.004), channels=1)
    cover = cover * light.clouds[scene, 1]
    bright = 0.92 * horizon.mean() * (1.25 - 0.35 * cover)
    colour = torch.lerp(colour, bright.expand_as(colour), cover)
    if bool(light.lamp[scene]):
        return colour
    towards = _dot(direction, normalize(light.position[scene], dim=0).unsqueeze(1)).clamp_(0.0, 1.0)
    glare = 0.35 * towards.pow(24.0) + 6.0 * (towards > 0.9992).float()
    return colour + 0.5 * glare * light.colour[scene].unsqueeze(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """`(n,)` of `(3, n)` and `(3, n)` or `(3, 1)`."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _length(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt_().clamp_min_(1e-6)
