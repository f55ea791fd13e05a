"""A camera that moves through a static room, with exact depth and poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# In metres; x right, y down, z ahead.
_PLANES = ((1, 1.5), (0, -3.0), (0, 4.0), (2, 9.0))  # floor and walls: axis, position on it
_WALL_TOP = -1.2  # y; above it is sky
_BALLS = ((-1.0, 0.7, 4.0, 0.8), (1.6, 0.9, 5.5, 0.6), (0.3, 1.1, 3.0, 0.4))  # x, y, z, radius


@dataclass(frozen=True, eq=False)
class Clip:
    """N frames and their truth.

    Attributes:
        images: (N, H, W, 3) uint8; grey.
        depth: (N, H, W) float32 metres along the optical axis; 0 in the sky.
        extrinsics: (N, 3, 4) float64 world-to-camera, OpenCV axes, metres.
        intrinsics: (N, 3, 3) float64 pixels.
    """

    images: np.ndarray
    depth: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray


def room_clip(frames: int, size: tuple[int, int], step: tuple[float, float, float], turn: float) -> Clip:
    """Render frames of `size` (height, width); from each to the next the camera moves `step` metres, `turn` radians."""
    height, width = size
    intrinsics = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([columns, rows, np.ones(size)], -1) @ np.linalg.inv(intrinsics).T
    depth, extrinsics = [], []
    for number in range(frames):
        eye, angle = number * np.asarray(step), number * turn
        rotation = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        depth.append(room_depth(eye, rays @ rotation))
        extrinsics.append(np.column_stack([rotation, -rotation @ eye]))
    return Clip(
        images=np.full((frames, *size, 3), 128, np.uint8),
        depth=np.stack(depth).astype(np.float32),
        extrinsics=np.stack(extrinsics),
        intrinsics=np.tile(intrinsics, (frames, 1, 1)),
    )


def room_depth(eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Multiples of the rays (H, W, 3) from a point to what they meet first; 0 where they meet nothing."""
    hits = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis, position in _PLANES:
            along = (position - eye[axis]) / rays[..., axis]
            hits.append(np.where(eye[1] + along * rays[..., 1] > _WALL_TOP, along, np.inf))
        for *centre, radius in _BALLS:
            away = np.asarray(centre) - eye
            a, b = (rays**2).sum(-1), rays @ away
            root = np.sqrt(b * b - a * (away @ away - radius**2))
            hits.append((b - root) / a)
    nearest = np.stack([np.where(hit > 0, hit, np.inf) for hit in hits]).min(0)
    return np.where(np.isfinite(nearest), nearest, 0.0)
