"""Kept for clients of upstream: `visualize_depth`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colormap import inverse_depth_range, spectral_colors, table_index

__all__ = ["visualize_depth"]

_SPECTRAL = "Spectral"
_MIN_HALF_RANGE = 1e-6


def visualize_depth(
    depth: Any,  # Any: an array or tensor
    depth_min: float | None = None,
    depth_max: float | None = None,
    percentile: float = 2,
    ret_minmax: bool = False,
    ret_type: npt.DTypeLike = np.uint8,
    cmap: str = _SPECTRAL,
) -> Any:  # Any: an array, or an array and two numbers
    """Colour a depth map by inverse depth; `export.colormap.colorize_depth` is the same with typed results.

    Args:
        depth: (H, W) array or tensor; values that are not positive get the colour of the farthest depth.
        depth_min, depth_max: INVERSE depths that get the last and the first colour; None: percentiles of this map.
        percentile: the lower percentile, 0 to 50; the upper one is 100 minus it.
        ret_minmax: also return the two inverse depths.
        ret_type: uint8 (0 to 255), float32 or float64 (0 to 1).
        cmap: "Spectral", or another colour map of matplotlib, if that is installed.

    Returns:
        (H, W, 3) RGB; near is the first colour (red), far the last (blue). With `ret_minmax` a tuple of it,
        `depth_min` and `depth_max`.

    Raises:
        InvalidInputError: an argument is not accepted.
        UnsupportedError: the colour map needs matplotlib, which is not installed.
    """
    kind = np.dtype(ret_type)
    if kind not in (np.uint8, np.float32, np.float64):
        raise InvalidInputError(f"ret_type={ret_type!r} is not accepted; choose uint8, float32 or float64")
    if not 0 <= percentile <= 50:
        raise InvalidInputError(f"percentile={percentile!r} is not accepted; give a value from 0 to 50")
    values = _as_array(depth)
    found = inverse_depth_range(values, percentile) or (0.0, 0.0)
    low, high = found[0] if depth_min is None else float(depth_min), found[1] if depth_max is None else float(depth_max)
    if low == high:
        low, high = low - _MIN_HALF_RANGE, high + _MIN_HALF_RANGE
    colors = spectral_colors() if cmap == _SPECTRAL else _matplotlib_colors(cmap)
    if kind == np.uint8:
        colors = (colors * 255.0).astype(np.uint8)
    image = colors.astype(kind)[table_index(values, (low, high), levels=len(colors))]
    return (image, low, high) if ret_minmax else image


def _as_array(depth: Any) -> npt.NDArray[np.floating]:  # Any: an array or tensor
    if hasattr(depth, "detach"):
        depth = depth.detach().cpu().float().numpy()  # numpy has no bfloat16
    values = np.asarray(depth)
    if values.dtype.kind not in "fiu":
        raise InvalidInputError(f"depth has dtype {values.dtype}; give an array or tensor of numbers")
    return values.astype(np.promote_types(values.dtype, np.float32), copy=False)


def _matplotlib_colors(name: str) -> npt.NDArray[np.float64]:
    """Return the table (levels, 3) of a colour map of matplotlib, RGB from 0 to 1."""
    try:
        import matplotlib
    except ImportError as missing:
        hint = "pip install matplotlib, or use 'Spectral'"
        raise UnsupportedError(f"cmap={name!r} needs matplotlib: {hint}") from missing
    try:
        found = matplotlib.colormaps[name]
    except KeyError:
        raise InvalidInputError(f"cmap={name!r} is no colour map of matplotlib; 'Spectral' needs none") from None
    return np.asarray(found(np.arange(found.N))[:, :3], np.float64)
