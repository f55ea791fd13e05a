"""Colour depth maps by inverse depth."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.colormap_tables import TABLES
from depth_anything_3.export.format_options import Colormap

__all__ = [
    "Colormap",
    "color_table",
    "colorize_depth",
    "inverse_depth_range",
    "spectral_colors",
    "spectral_table",
    "table_index",
]

# Spectral, 11 classes, of ColorBrewer (Cynthia Brewer): near is red, far is blue.
_SPECTRAL = (
    (158, 1, 66),
    (213, 62, 79),
    (244, 109, 67),
    (253, 174, 97),
    (254, 224, 139),
    (255, 255, 191),
    (230, 245, 152),
    (171, 221, 164),
    (102, 194, 165),
    (50, 136, 189),
    (94, 79, 162),
)
_LEVELS = 256
_MAX_UNMEASURED = 10  # upstream computes no range from this few valid depths


def inverse_depth_range(depth: npt.NDArray[np.floating], percentile: float = 2) -> tuple[float, float] | None:
    """Compute percentiles of inverse depth; None if there are ten valid (positive) depths or fewer.

    Args:
        depth: of any shape.
        percentile: the lower one, 0 to 50; the upper one is 100 minus it.
    """
    valid = depth[depth > 0]
    if valid.size <= _MAX_UNMEASURED:
        return None
    low, high = np.percentile(1.0 / valid, (percentile, 100 - percentile))
    return float(low), float(high)


def colorize_depth(
    depth: npt.NDArray[np.floating],
    inverse_range: tuple[float, float] | None = None,
    colormap: Colormap | str = Colormap.SPECTRAL,
) -> npt.NDArray[np.uint8]:
    """Colour a depth map by inverse depth.

    Args:
        depth: (H, W); invalid depth gets the colour of the farthest depth.
        inverse_range: inverse depths of the farthest and the nearest colour, which depths beyond them get too; None:
            `inverse_depth_range` of this map.
        colormap: see `color_table`.

    Returns:
        (H, W, 3) uint8 RGB; with "spectral" near is red, far is blue.

    Raises:
        InvalidInputError: the colour map is unknown.
    """
    table = color_table(colormap)
    return table[table_index(depth, inverse_range or inverse_depth_range(depth) or (0.0, 0.0))]


def color_table(colormap: Colormap | str) -> npt.NDArray[np.uint8]:
    """Return a colour map, (256, 3) uint8 RGB, from the nearest depth to the farthest.

    "spectral" runs from red to blue, "turbo" from red to dark blue; the others from bright to dark.

    Raises:
        InvalidInputError: the colour map is unknown.
    """
    chosen = Colormap(colormap)
    if chosen is Colormap.SPECTRAL:
        return spectral_table()
    if chosen is Colormap.GRAY:
        return np.repeat(np.arange(_LEVELS - 1, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)
    return np.frombuffer(base64.b64decode(TABLES[chosen.value]), np.uint8).reshape(_LEVELS, 3)[::-1]


def table_index(
    depth: npt.NDArray[np.floating], inverse_range: tuple[float, float], *, levels: int = _LEVELS
) -> npt.NDArray[np.int64]:
    """Compute the row of a colour table for each depth, by inverse depth.

    Args:
        depth: of any shape; invalid depth gets the last row.
        inverse_range: inverse depths of the last row and the first.
        levels: number of rows.
    """
    inverse = np.zeros(depth.shape, np.float32)
    valid = depth > 0
    inverse[valid] = 1.0 / depth[valid]
    low, high = (np.float32(bound) for bound in inverse_range)
    if low == high:
        low, high = low - np.float32(1e-6), high + np.float32(1e-6)
    share = np.clip((inverse - low) / (high - low), 0.0, 1.0)
    return np.asarray(np.minimum((levels * (1.0 - share)).astype(np.int64), levels - 1), np.int64)


def spectral_table() -> npt.NDArray[np.uint8]:
    """Make the colour map, (256, 3) uint8 RGB, from red (near) to blue (far)."""
    return (spectral_colors() * 255.0).astype(np.uint8)


def spectral_colors() -> npt.NDArray[np.float64]:
    """Make the colour map, (256, 3) RGB from 0 to 1, from red (near) to blue (far)."""
    anchors = np.array(_SPECTRAL, np.float64) / 255.0
    positions = np.linspace(0.0, 1.0, len(anchors))
    levels = np.linspace(0.0, 1.0, _LEVELS)
    return np.stack([np.interp(levels, positions, anchors[:, channel]) for channel in range(3)], axis=1)
