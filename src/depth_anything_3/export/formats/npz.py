"""Write `mini_npz` and `npz`: compressed NumPy archives with upstream's keys and rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_3.export.labels import source_names
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write", "write_mini"]


def write_mini(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write depth to 8 decimals, confidence to 2, extrinsics, intrinsics, and names of the views.

    Raises:
        ExportError: the file cannot be written.
    """
    return [_save(prediction, _path(export_dir, "mini_npz", name), depth_decimals=8, with_image=False)]


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write what `mini_npz` has, with depth to 6 decimals, and the image as the network saw it.

    Raises:
        ExportError: the file cannot be written.
    """
    return [_save(prediction, _path(export_dir, "npz", name), depth_decimals=6, with_image=True)]


def _path(export_dir: Path, format_name: str, name: str | None) -> Path:
    if name is None:
        return export_dir / "exports" / format_name / "results.npz"
    return export_dir / format_name / f"{name}.npz"


def _save(prediction: Prediction, path: Path, *, depth_decimals: int, with_image: bool) -> Path:
    arrays = {  # the first five are upstream's; its readers ignore the others
        "image": prediction.processed_images if with_image else None,
        "depth": np.round(prediction.depth, depth_decimals),
        "conf": None if prediction.conf is None else np.round(prediction.conf, 2),
        "extrinsics": prediction.extrinsics,
        "intrinsics": prediction.intrinsics,
        "names": np.array(source_names(prediction.sources)) if prediction.sources else None,
        "is_metric": np.int64(1) if prediction.is_metric else None,
    }
    with atomic_write(path) as temporary:
        present: dict[str, Any] = {key: value for key, value in arrays.items() if value is not None}
        np.savez_compressed(temporary, **present)
    return path
