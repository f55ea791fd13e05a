"""`depth_png`: 16-bit grey PNGs, with the factor that turns their values back into depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.PngImagePlugin import PngInfo

from depth_anything_3.export.image_file import write_picture
from depth_anything_3.export.view_names import depth_unit, view_names
from depth_anything_3.prediction import Prediction

__all__ = ["write"]

_MAX_VALUE = 65535


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """One PNG a view: `depth = value * depth_scale`, where `depth_scale` is a text entry of the PNG; 0 is no depth.

    Each view uses the whole range. Besides `depth_scale` there is `depth_unit`.
    """
    paths = []
    for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True):
        known = np.isfinite(depth) & (depth > 0)
        scale = float(depth[known].max()) / _MAX_VALUE if known.any() else 1.0
        # A known depth never becomes 0, which means none.
        values = np.zeros(depth.shape, np.uint16)
        values[known] = np.clip(np.rint(depth[known].astype(np.float64) / scale), 1, _MAX_VALUE)
        info = PngInfo()
        info.add_text("depth_scale", repr(scale))
        info.add_text("depth_unit", depth_unit(prediction))
        paths.append(write_picture(export_dir / "depth_png" / f"{view}.png", values, "PNG", pnginfo=info))
    return paths
