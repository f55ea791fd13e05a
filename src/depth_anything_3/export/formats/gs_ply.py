"""`gs_ply`: 3D Gaussians as the viewers of 3D Gaussian splatting (Kerbl et al., 2023) read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.options import GsPlyOptions
from depth_anything_3.export.ply_file import write_vertices
from depth_anything_3.prediction import Prediction

__all__ = ["gaussian_rows", "write"]

_BORDER = 8 / 256  # of each side
_FAR = 0.9  # quantile of a view's depth
_VIEWS = 12
_COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def write(prediction: Prediction, export_dir: Path, name: str | None, options: GsPlyOptions) -> list[Path]:
    """`gs_ply/0000.ply`; Gaussians at the border of a view, or farther than nine tenths of it, are left out.

    Raises:
        InvalidInputError: there are other numbers of Gaussians and pixels.
        ExportError: the file cannot be written.
    """
    views, height, width = prediction.depth.shape
    assert prediction.gaussians is not None  # checked before anything is written
    count = prediction.gaussians.means.shape[-2]
    if count != prediction.depth.size:
        raise InvalidInputError(
            f"gs_ply: {count} Gaussians for {views} views of {height}x{width}; one a pixel is needed"
        )
    interval = options.gs_views_interval or max(views // _VIEWS, 1)
    rows = gaussian_rows(prediction.gaussians, _selected(prediction.depth, interval))
    path = export_dir / "gs_ply" / ("0000.ply" if name is None else f"{name}.ply")
    write_vertices(path, rows)
    return [path]


def gaussian_rows(gaussians: Any, selected: npt.NDArray[np.int64]) -> npt.NDArray[Any]:  # Any: the model's class; rows
    """The columns of the file: position, normal (0), first colour coefficient, and what 3DGS keeps before activation.

    Args:
        gaussians: with tensors or arrays `means` (G, 3), `scales` (G, 3), `rotations` (G, 4), `harmonics` (G, 3, K),
            `opacities` (G), or the same with a leading axis of 1.
        selected: numbers of the Gaussians.

    Returns:
        (M) rows of float32 columns; opacity as logit, scales as natural logarithms. Rows that are not finite are left
        out.
    """
    tiny, almost_one = np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).eps
    opacity = np.clip(_picked(gaussians.opacities, 1, selected).astype(np.float64), tiny, almost_one)
    values = np.column_stack(
        [
            _picked(gaussians.means, 2, selected),
            np.zeros((len(selected), 3)),
            _picked(gaussians.harmonics, 3, selected)[:, :, 0],
            np.log(opacity / (1 - opacity)),
            np.log(np.maximum(_picked(gaussians.scales, 2, selected), tiny)),
            _picked(gaussians.rotations, 2, selected),
        ]
    ).astype("<f4")
    rows = values[np.isfinite(values).all(axis=1)]
    columns: npt.NDArray[Any] = rows.view([(column, "<f4") for column in _COLUMNS])[:, 0]
    return columns


def _selected(depth: npt.NDArray[np.floating], interval: int) -> npt.NDArray[np.int64]:
    views, height, width = depth.shape
    kept = np.zeros(depth.shape, bool)
    # On sides under 32 pixels the border is nothing; upstream then keeps nothing.
    rows, columns = int(_BORDER * height), int(_BORDER * width)
    for view in range(0, views, interval):
        inner = (view, slice(rows, height - rows), slice(columns, width - columns))
        kept[inner] = (depth[inner] > 0) & (depth[inner] <= np.quantile(depth[view], _FAR))  # none where padded
    return np.flatnonzero(kept)


def _picked(values: Any, axes: int, selected: npt.NDArray[np.int64]) -> npt.NDArray[Any]:  # Any: a tensor or an array
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    picked: npt.NDArray[Any] = array.reshape(array.shape[-axes:])[selected]
    return picked
