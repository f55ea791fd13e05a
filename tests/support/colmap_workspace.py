"""A COLMAP workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from depth_anything_3.export.colmap import SparseModel, SparsePoints, write_sparse_model

SIZE = (84, 112)  # of the images, which the network sees as they are


def write_workspace(folder: Path) -> Path:
    """Write four images, three of them with a camera, and a camera without an image."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(2)
    for number in range(4):
        pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    extrinsics = np.stack([np.eye(4)] * 4)
    extrinsics[:, :3, 3] = [[0, 0, 0], [5, 0, 1], [0, 5, 0], [1, 1, 1]]
    matrix = np.array([[100.0, 0, 56], [0, 100, 42], [0, 0, 1]])
    model = SparseModel(("0.png", "1.png", "2.png", "gone.png"), extrinsics, np.stack([matrix] * 4), (SIZE,) * 4)
    (folder / "sparse" / "0").mkdir(parents=True)
    none = SparsePoints(np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty((0, 2)), np.zeros(4, np.int64))
    write_sparse_model(folder / "sparse" / "0", model, none)
    return folder
