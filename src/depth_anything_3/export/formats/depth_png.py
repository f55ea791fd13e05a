"""Write `depth_png`: depth as 16-bit grey PNGs, with a scale factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.PngImagePlugin import PngInfo

from depth_anything_3.export.image_file import write_image
from depth_anything_3.export.labels import depth_unit, view_names
from depth_anything_3.prediction import Prediction

__all__ = ["write"]

_MAX_VALUE = 65535


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write one PNG per view: `depth = value * depth_scale`; `depth_scale` is a text entry, 0 is invalid depth.

    Each view uses the whole range of values. Another text entry is `depth_unit`.

    Raises:
        ExportError: a file cannot be written.
    """
    paths = []
    for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True):
        valid = np.isfinite(depth) & (depth > 0)
        scale = float(depth[valid].max()) / _MAX_VALUE if valid.any() else 1.0
        # Clip to 1: 0 is invalid depth.
        values = np.zeros(depth.shape, np.uint16)
        values[valid] = np.clip(np.rint(depth[valid].astype(np.float64) / scale), 1, _MAX_VALUE)
        info = PngInfo()
        info.add_text("depth_scale", repr(scale))
        info.add_text("depth_unit", depth_unit(prediction))
        paths.append(write_image(export_dir / "depth_png" / f"{view}.png", values, "PNG", pnginfo=info))
    return paths
