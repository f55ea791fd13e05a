"""`mini_npz` and `npz`: compressed NumPy archives with upstream's keys and roundings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write", "write_mini"]


def write_mini(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Depth to 8 decimals, confidence to 2, extrinsics and intrinsics."""
    return [_save(prediction, _path(export_dir, "mini_npz", name), depth_decimals=8, with_image=False)]


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Depth to 6 decimals, confidence to 2, extrinsics, intrinsics, and the picture the network saw."""
    return [_save(prediction, _path(export_dir, "npz", name), depth_decimals=6, with_image=True)]


def _path(export_dir: Path, kind: str, name: str | None) -> Path:
    return export_dir / "exports" / kind / "results.npz" if name is None else export_dir / kind / f"{name}.npz"


def _save(prediction: Prediction, path: Path, *, depth_decimals: int, with_image: bool) -> Path:
    arrays = {
        "image": prediction.processed_images if with_image else None,
        "depth": np.round(prediction.depth, depth_decimals),
        "conf": None if prediction.conf is None else np.round(prediction.conf, 2),
        "extrinsics": prediction.extrinsics,
        "intrinsics": prediction.intrinsics,
        "is_metric": np.int64(1) if prediction.is_metric else None,  # upstream's readers do not look for it
    }
    with atomic_write(path) as aside:
        present: dict[str, Any] = {key: value for key, value in arrays.items() if value is not None}
        np.savez_compressed(aside, **present)
    return path
