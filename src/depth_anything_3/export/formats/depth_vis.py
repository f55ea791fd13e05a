"""Write `depth_vis`: the image and its depth in colour, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.labels import view_names
from depth_anything_3.prediction import Prediction

__all__ = ["write"]


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write one JPEG per view: image left, depth right.

    Raises:
        ExportError: a file cannot be written.
    """
    assert prediction.processed_images is not None
    paths = []
    names = view_names(prediction, name)
    for image, depth, view in zip(prediction.processed_images, prediction.depth, names, strict=True):
        paths.append(write_jpeg(export_dir / "depth_vis" / f"{view}.jpg", np.hstack([image, colorize_depth(depth)])))
    return paths
