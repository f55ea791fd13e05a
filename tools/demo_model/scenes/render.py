"""Render scenes as photo-like images with exact depth, normals, intrinsics and sky."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scenes.camera import expose
from scenes.layouts import make_scene
from scenes.scene import Scene
from scenes.shade import Lighting, Shaded, trace
from scenes.solids import Solids, stack_solids
from scenes.textures import Atlas

__all__ = ["Rendering", "draw_scenes", "render", "render_large"]

_TILE = 14  # pixels
_EDGE_TILE = 49  # edge pixels that are traced together
_TILES_OF_A_STRIP = 280  # of a large image; with twice as many it took a third longer, in memory new to the process


@dataclass(frozen=True)
class Rendering:
    """Images and their truth, on the device they were rendered on.

    Attributes:
        image: `(B, 3, H, W)` uint8 RGB.
        depth: `(B, H, W)` float32 metres along the optical axis; inf in the sky.
        normal: `(B, 3, H, W)` float32 unit, OpenCV camera axes, towards the camera; 0 in the sky.
        intrinsics: `(B, 3, 3)` float32 pixels; the image spans [0, W] x [0, H].
    """

    image: Tensor
    depth: Tensor
    normal: Tensor
    intrinsics: Tensor

    @property
    def sky(self) -> Tensor:
        """`(B, H, W)` bool."""
        return torch.isinf(self.depth)


def render(
    seeds: Sequence[int], size: tuple[int, int], atlas: Atlas, *, device: str | torch.device = "cpu"
) -> Rendering:
    """Render one image of each scene.

    Args:
        seeds: One a scene; the scene and all of its photographic faults follow from it.
        size: (height, width) in pixels, multiples of 14.
        atlas: The textures, on `device`.
        device: Where to render.
    """
    return draw_scenes([make_scene(seed, atlas.families) for seed in seeds], seeds, size, atlas, device=device)


def draw_scenes(
    scenes: Sequence[Scene],
    seeds: Sequence[int],
    size: tuple[int, int],
    atlas: Atlas,
    *,
    device: str | torch.device = "cpu",
) -> Rendering:
    """Do the same as :func:`render` for existing scenes; the seeds are those of the camera's noise."""
    batch = _Batch(scenes, size, torch.device(device))
    rows, columns = size[0] // _TILE, size[1] // _TILE
    seen = batch.trace(atlas, batch.rays(_tile_pixels(size)))
    colour, depth, normal = _untile(seen, rows, columns)
    image = expose(colour, depth, seeds)
    return Rendering(image, depth, normal, batch.intrinsics)


def render_large(
    seed: int, size: tuple[int, int], atlas: Atlas, *, device: str | torch.device = "cpu", samples: int = 4
) -> Rendering:
    """Render one large image in strips, with `samples` rays in each pixel where neighbours differ in kind.

    Args:
        seed: Of the scene.
        size: (height, width) in pixels, any.
        atlas: The textures, on `device`.
        device: Where to render.
        samples: Rays of a pixel at an edge.
    """
    height, width = size
    padded = (math.ceil(height / _TILE) * _TILE, math.ceil(width / _TILE) * _TILE)
    batch = _Batch([make_scene(seed, atlas.families)], size, torch.device(device))
    pixels = _tile_pixels(padded)
    columns = padded[1] // _TILE

    @torch.inference_mode()
    def draw(strip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _untile(batch.trace(atlas, batch.rays(strip)), len(strip) // columns, columns)

    # One thread a strip uses the cores better than torch's threads inside one strip; each sets its own number.
    with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        strips = list(threads.map(draw, torch.split(pixels, columns * max(1, _TILES_OF_A_STRIP // columns))))
        colour, depth, normal = (torch.cat(parts, dim=-2)[..., :height, :width] for parts in zip(*strips, strict=True))
        _smooth_edges(batch, atlas, colour, _edges(depth, normal), samples, threads)
    return Rendering(expose(colour, depth, [seed]), depth, normal, batch.intrinsics)


class _Batch:
    """Scenes brought into their cameras' frames."""

    def __init__(self, scenes: Sequence[Scene], size: tuple[int, int], device: torch.device) -> None:
        height, width = size
        views = [(scene.view_rotation(), scene.eye) for scene in scenes]
        self.device = device
        self.boxes: Solids = stack_solids([scene.boxes for scene in scenes], views).to(device)
        self.quadrics: Solids = stack_solids([scene.quadrics for scene in scenes], views).to(device)
        focal = np.array([max(size) / 2 / math.tan(scene.fov / 2) for scene in scenes])
        intrinsics = np.zeros((len(scenes), 3, 3))
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
        intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = width / 2, height / 2, 1.0
        self.intrinsics = torch.from_numpy(intrinsics.astype(np.float32)).to(device)
        self.lighting = _lighting(scenes, device)

    def rays(self, pixels: Tensor) -> Tensor:
        """Directions `(B, T, P, 3)` with z = 1 through pixel positions `(T, P, 2)` (x, y)."""
        pixels = pixels.to(self.device)
        focal = self.intrinsics[:, 0, 0, None, None]
        x = (pixels[..., 0] - self.intrinsics[:, 0, 2, None, None]) / focal
        y = (pixels[..., 1] - self.intrinsics[:, 1, 2, None, None]) / focal
        return torch.stack([x, y, torch.ones_like(x)], dim=-1)

    def trace(self, atlas: Atlas, rays: Tensor) -> Shaded:
        """Follow rays."""
        return trace(self.boxes, self.quadrics, self.lighting, atlas, rays, 1.0 / self.intrinsics[:, 0, 0])


def _lighting(scenes: Sequence[Scene], device: torch.device) -> Lighting:
    rotations = np.stack([scene.view_rotation() for scene in scenes])
    eyes = np.stack([scene.eye for scene in scenes])
    lights = np.stack([scene.light for scene in scenes])

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(device)

    return Lighting(
        position=tensor(np.einsum("bij,bj->bi", rotations, lights - eyes)),
        colour=tensor([scene.light_colour for scene in scenes]),
        ambient=tensor([scene.ambient for scene in scenes]),
        bounce=tensor([scene.bounce for scene in scenes]),
        up=tensor(rotations[:, :, 1]),
        haze=tensor([scene.haze for scene in scenes]),
        horizon=tensor([scene.horizon for scene in scenes]),
        zenith=tensor([scene.zenith for scene in scenes]),
        clouds=tensor([scene.clouds for scene in scenes]),
        to_world=tensor(rotations.transpose(0, 2, 1)),
        lamp=tensor(np.linalg.norm(lights - eyes, axis=1) < 40.0),
    )


def _tile_pixels(size: tuple[int, int]) -> Tensor:
    """Compute positions `(tiles, pixels of a tile, 2)` (x, y) of pixel centres, tiles row by row."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grid = torch.stack([x, y], dim=-1).view(height // _TILE, _TILE, width // _TILE, _TILE, 2)
    return grid.permute(0, 2, 1, 3, 4).reshape(-1, _TILE * _TILE, 2)


def _untile(seen: Shaded, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Colour `(B, 3, h, w)`, depth `(B, h, w)` and normal `(B, 3, h, w)` of tiles that fill a rectangle."""
    flat = torch.cat([seen.colour, seen.normal, seen.depth.unsqueeze(-1)], dim=-1)
    batch = flat.shape[0]
    grid = flat.view(batch, rows, columns, _TILE, _TILE, 7).permute(0, 5, 1, 3, 2, 4)
    image = grid.reshape(batch, 7, rows * _TILE, columns * _TILE)
    return image[:, :3], image[:, 6], image[:, 3:6]


def _edges(depth: Tensor, normal: Tensor) -> Tensor:
    """Find pixels `(n, 2)` (row, column) where depth or direction jumps, grouped by image block."""
    inverse = depth.reciprocal()
    edge = torch.zeros_like(inverse, dtype=torch.bool)
    for axis in (1, 2):
        n = inverse.shape[axis]
        here, there = inverse.narrow(axis, 0, n - 1), inverse.narrow(axis, 1, n - 1)
        jump = (here - there).abs() > 0.03 * torch.maximum(here, there)
        a, b = normal.narrow(axis + 1, 0, n - 1), normal.narrow(axis + 1, 1, n - 1)
        jump |= (a * b).sum(1) < 0.9
        edge.narrow(axis, 0, n - 1).logical_or_(jump)
        edge.narrow(axis, 1, n - 1).logical_or_(jump)
    where = edge[0].nonzero()
    block = where[:, 0] // 32 * (depth.shape[2] // 32 + 1) + where[:, 1] // 32
    return where[torch.argsort(block, stable=True)]


def _smooth_edges(
    batch: _Batch, atlas: Atlas, colour: Tensor, where: Tensor, samples: int, threads: ThreadPoolExecutor
) -> None:
    """Replace, in place, the colour of some pixels by the mean of several rays: edges must not be stairs."""
    side = max(1, round(math.sqrt(samples)))
    steps = (torch.arange(side, device=where.device) + 0.5) / side
    sub = torch.cartesian_prod(steps, steps)

    @torch.inference_mode()
    def mean(part: Tensor) -> Tensor:
        grouped = torch.cat([part, part[-1:].expand(-len(part) % _EDGE_TILE, 2)])
        positions = (grouped.flip(1)[:, None].float() + sub).view(-1, _EDGE_TILE * len(sub), 2)
        seen = batch.trace(atlas, batch.rays(positions))
        return seen.colour.view(-1, len(sub), 3).mean(1)[: len(part)]

    parts = torch.split(where, 16384)
    for part, smooth in zip(parts, threads.map(mean, parts), strict=True):
        colour[0, :, part[:, 0], part[:, 1]] = smooth.T
