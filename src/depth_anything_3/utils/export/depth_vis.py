"""Kept for clients of upstream: `export_to_depth_vis`."""

from __future__ import annotations

import os

from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.write_format import write_format

__all__ = ["export_to_depth_vis"]


def export_to_depth_vis(prediction: Prediction, export_dir: str | os.PathLike[str]) -> None:
    """Write each image beside its coloured depth, `depth_vis/0000.jpg` and so on.

    Raises:
        UnsupportedError: the prediction has no images.
        ExportError: a file cannot be written.
    """
    write_format(prediction, "depth_vis", export_dir, {})
