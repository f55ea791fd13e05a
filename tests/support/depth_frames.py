"""Frames with depth for tests of temporal smoothing."""

from __future__ import annotations

import numpy as np

__all__ = ["FRAME_HW", "frame_depth", "frame_image"]

FRAME_HW = HEIGHT, WIDTH = 84, 112


def frame_image(seed: int) -> np.ndarray:
    """Coloured blots of several sizes, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((HEIGHT, WIDTH, 3))
    for cells in (3, 6, 12, 24):
        coarse = rng.normal(size=(cells, cells, 3))
        rows, columns = (np.linspace(0, cells - 1, size).astype(int) for size in (HEIGHT, WIDTH))
        total += coarse[rows][:, columns]
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def frame_depth(seed: int) -> np.ndarray:
    """Depth (H, W) float32 of a floor that recedes from the camera, with a few boxes on it."""
    rng = np.random.default_rng(seed)
    depth = np.repeat(2.0 / np.linspace(0.1, 1.0, HEIGHT)[:, None], WIDTH, axis=1)
    for _ in range(6):
        top, left = rng.integers(0, HEIGHT - 20), rng.integers(0, WIDTH - 20)
        depth[top : top + 20, left : left + 20] = rng.uniform(1.5, 12)
    return depth.astype(np.float32)
