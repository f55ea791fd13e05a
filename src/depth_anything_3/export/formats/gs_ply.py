"""Write `gs_ply`: 3D Gaussians in the layout of 3D Gaussian splatting (Kerbl et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import FormatOptions
from depth_anything_3.export.ply_file import write_vertices
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["GsPlyOptions", "gaussian_rows", "select_gaussians", "write"]

_BORDER = 8 / 256  # of each side
_MAX_DEPTH_QUANTILE = 0.9  # of a view
_DEFAULT_VIEWS = 12
_COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


@dataclass(frozen=True)
class GsPlyOptions(FormatOptions):
    """Options of `gs_ply`.

    Attributes:
        gs_views_interval: keep the Gaussians of every n-th view; None keeps about twelve views.
    """

    gs_views_interval: int | None = 1

    def __post_init__(self) -> None:
        if self.gs_views_interval is not None:
            positive_int("gs_views_interval", self.gs_views_interval)


def write(prediction: Prediction, export_dir: Path, name: str | None, options: GsPlyOptions) -> list[Path]:
    """Write Gaussians, except at the border of a view and above the 0.9 quantile of its depth.

    Raises:
        InvalidInputError: the numbers of Gaussians and pixels differ.
        ExportError: the file cannot be written.
    """
    views, height, width = prediction.depth.shape
    assert prediction.gaussians is not None  # checked before anything is written
    count = prediction.gaussians.means.shape[-2]
    if count != prediction.depth.size:
        raise InvalidInputError(
            f"gs_ply: {count} Gaussians for {views} views of {height}x{width}; give one Gaussian for each pixel"
        )
    interval = options.gs_views_interval or max(views // _DEFAULT_VIEWS, 1)
    rows = gaussian_rows(prediction.gaussians, select_gaussians(prediction.depth, interval))
    path = export_dir / "gs_ply" / ("0000.ply" if name is None else f"{name}.ply")
    write_vertices(path, rows)
    return [path]


def gaussian_rows(gaussians: Any, selected: npt.NDArray[np.int64]) -> npt.NDArray[Any]:  # Any: the model's class; rows
    """Make the rows of the file: position, normal (0), first colour coefficient, and 3DGS' values before activation.

    Args:
        gaussians: with tensors or arrays `means` (G, 3), `scales` (G, 3), `rotations` (G, 4), `harmonics` (G, 3, K),
            `opacities` (G), or the same with a leading axis of 1.
        selected: indices of the Gaussians.

    Returns:
        (M,) rows of float32 columns; opacity as logit, scales as natural logarithms. Rows that are not finite are
        dropped.
    """
    tiny, almost_one = np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).eps
    opacity = np.clip(_select(gaussians.opacities, 1, selected).astype(np.float64), tiny, almost_one)
    values = np.column_stack(
        [
            _select(gaussians.means, 2, selected),
            np.zeros((len(selected), 3)),
            _select(gaussians.harmonics, 3, selected)[:, :, 0],
            np.log(opacity / (1 - opacity)),
            np.log(np.maximum(_select(gaussians.scales, 2, selected), tiny)),
            _select(gaussians.rotations, 2, selected),
        ]
    ).astype("<f4")
    rows = values[np.isfinite(values).all(axis=1)]
    columns: npt.NDArray[Any] = rows.view([(column, "<f4") for column in _COLUMNS])[:, 0]
    return columns


def select_gaussians(
    depth: npt.NDArray[np.floating],
    interval: int,
    *,
    max_quantile: float = _MAX_DEPTH_QUANTILE,
    has_border: bool = True,
) -> npt.NDArray[np.int64]:
    """Return the indices of the Gaussians to keep.

    Args:
        depth: (N, H, W), one Gaussian for each pixel; those with depth 0 are dropped.
        interval: keep those of every n-th view.
        max_quantile: quantile of a view's depth above which Gaussians are dropped.
        has_border: drop those at the border of each view.
    """
    views, height, width = depth.shape
    selected = np.zeros(depth.shape, bool)
    # Sides under 32 pixels have no border; upstream then keeps no Gaussian.
    rows, columns = (int(_BORDER * height), int(_BORDER * width)) if has_border else (0, 0)
    for view in range(0, views, interval):
        inner = (view, slice(rows, height - rows), slice(columns, width - columns))
        farthest = np.quantile(depth[view], max_quantile)
        selected[inner] = (depth[inner] > 0) & (depth[inner] <= farthest)  # depth is 0 in padding
    return np.flatnonzero(selected)


def _select(values: Any, axes: int, selected: npt.NDArray[np.int64]) -> npt.NDArray[Any]:  # Any: a tensor or an array
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    selected_rows: npt.NDArray[Any] = array.reshape(array.shape[-axes:])[selected]
    return selected_rows
