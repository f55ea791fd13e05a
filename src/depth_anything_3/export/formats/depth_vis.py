"""Write `depth_vis`: the image and its depth in colour, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_3.export.colored_views import colored_views
from depth_anything_3.export.format_options import ColorOptions
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.labels import view_names
from depth_anything_3.prediction import Prediction

__all__ = ["ColorOptions", "write"]


def write(prediction: Prediction, export_dir: Path, name: str | None, options: ColorOptions) -> list[Path]:
    """Write one JPEG per view: image left, depth right.

    Raises:
        ExportError: a file cannot be written.
    """
    assert prediction.processed_images is not None
    paths = []
    views = zip(
        prediction.processed_images, colored_views(prediction, options), view_names(prediction, name), strict=True
    )
    for image, colors, view in views:
        paths.append(write_jpeg(export_dir / "depth_vis" / f"{view}.jpg", np.hstack([image, colors])))
    return paths
