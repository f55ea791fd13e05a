"""Write `ply`: a coloured point cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_3.export.format_options import PointOptions
from depth_anything_3.export.labels import depth_unit
from depth_anything_3.export.ply_file import write_vertices
from depth_anything_3.export.point_cloud import confidence_threshold, gather_points
from depth_anything_3.prediction import Prediction

__all__ = ["PointOptions", "write"]


def write(prediction: Prediction, export_dir: Path, name: str | None, options: PointOptions) -> list[Path]:
    """Write points in the world frame of the extrinsics (OpenCV axes); without extrinsics, in the camera's frame.

    Confidence and sky, if the model predicts them, decide which pixels become points. A comment in the header states
    the unit, see `depth_unit`.

    Raises:
        InvalidInputError: the intrinsics or extrinsics have no inverse.
        ExportError: the file cannot be written.
    """
    threshold = 0.0
    if prediction.conf is not None:
        threshold = confidence_threshold(prediction.conf, options.conf_thresh_percentile)
    cloud = gather_points(prediction, prediction.conf, threshold, options.num_max_points)
    columns = [(axis, "<f4") for axis in "xyz"]
    if cloud.colors is not None:
        columns += [(color, "|u1") for color in ("red", "green", "blue")]
    rows = np.empty(len(cloud.points), columns)
    for number, axis in enumerate("xyz"):
        rows[axis] = cloud.points[:, number]
    if cloud.colors is not None:
        for number, color in enumerate(("red", "green", "blue")):
            rows[color] = cloud.colors[:, number]
    path = export_dir / "scene.ply" if name is None else export_dir / "ply" / f"{name}.ply"
    write_vertices(path, rows, (f"depth_unit {depth_unit(prediction)}",))
    return [path]
