"""Kept for clients of upstream: `export_to_colmap`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.write_format import write_format

__all__ = ["export_to_colmap"]


def export_to_colmap(
    prediction: Prediction,
    export_dir: str | os.PathLike[str],
    image_paths: Sequence[str | os.PathLike[str]],
    conf_thresh_percentile: float = 40.0,
    process_res_method: str = "upper_bound_resize",
) -> None:
    """Write a sparse model of the cameras and points; see `export.formats.colmap`.

    Args:
        prediction: with images, poses and intrinsics.
        export_dir: folder; created if missing.
        image_paths: the file of each view.
        conf_thresh_percentile: percentile of confidence, 0 to 100; pixels below it give no points.
        process_res_method: not used; the sizes of the files show whether images were cropped.

    Raises:
        InvalidInputError: an argument is not accepted, or there is not one file for each view.
        UnsupportedError: the images were cropped, or are not those of the prediction, or it lacks a field.
        ImageReadError: a file cannot be read.
        ExportError: a file cannot be written.
    """
    given = {"image_paths": image_paths, "conf_thresh_percentile": conf_thresh_percentile}
    write_format(prediction, "colmap", export_dir, given)
