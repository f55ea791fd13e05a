"""Kept for clients of upstream: `export_to_gs_ply` and `export_to_gs_video`."""

from __future__ import annotations

import os
from typing import Any

from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.write_format import write_format
from depth_anything_3.utils.gsply_helpers import save_gaussian_ply

__all__ = ["export_to_gs_ply", "export_to_gs_video", "save_gaussian_ply"]


def export_to_gs_ply(
    prediction: Prediction, export_dir: str | os.PathLike[str], gs_views_interval: int | None = 1
) -> None:
    """Write `gs_ply/0000.ply`; see `export.formats.gs_ply`.

    Raises:
        InvalidInputError: an option is not accepted.
        UnsupportedError: the prediction has no Gaussians.
        ExportError: the file cannot be written.
    """
    write_format(prediction, "gs_ply", export_dir, {"gs_views_interval": gs_views_interval})


def export_to_gs_video(
    prediction: Prediction,
    export_dir: str | os.PathLike[str],
    **options: Any,  # Any: those of `GsVideoOptions`
) -> None:
    """Write `gs_video/0000_MODE.mp4`.

    Args:
        prediction: with Gaussians.
        export_dir: folder; created if missing.
        options: see `export.formats.gs_video.GsVideoOptions`.

    Raises:
        InvalidInputError: an option is unknown or not accepted.
        UnsupportedError: the prediction has no Gaussians, or there is no CUDA GPU or no gsplat.
        ExportError: the file cannot be written.
    """
    write_format(prediction, "gs_video", export_dir, options)
