"""Colour depth maps by inverse depth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["colorize_depth", "inverse_depth_range", "spectral_table"]

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


def inverse_depth_range(depth: npt.NDArray[np.floating]) -> tuple[float, float] | None:
    """Compute the 2nd and 98th percentiles of inverse depth; None if there are ten valid (positive) depths or fewer.

    Args:
        depth: of any shape.
    """
    valid = depth[depth > 0]
    if valid.size <= _MAX_UNMEASURED:
        return None
    low, high = np.percentile(1.0 / valid, (2, 98))
    return float(low), float(high)


def colorize_depth(
    depth: npt.NDArray[np.floating], inverse_range: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Colour a depth map by inverse depth.

    Args:
        depth: (H, W); invalid depth gets the colour of the farthest depth.
        inverse_range: inverse depths that become blue and red; None: `inverse_depth_range` of this map.

    Returns:
        (H, W, 3) uint8 RGB; near is red, far is blue.
    """
    inverse = np.zeros(depth.shape, np.float32)
    valid = depth > 0
    inverse[valid] = 1.0 / depth[valid]
    low, high = (np.float32(bound) for bound in inverse_range or inverse_depth_range(depth) or (0.0, 0.0))
    if low == high:
        low, high = low - np.float32(1e-6), high + np.float32(1e-6)
    share = np.clip((inverse - low) / (high - low), 0.0, 1.0)
    index = np.minimum((_LEVELS * (1.0 - share)).astype(np.int64), _LEVELS - 1)
    return np.asarray(spectral_table()[index], np.uint8)


def spectral_table() -> npt.NDArray[np.uint8]:
    """Make the colour map, (256, 3) uint8 RGB, from red (near) to blue (far)."""
    anchors = np.array(_SPECTRAL, np.float64) / 255.0
    positions = np.linspace(0.0, 1.0, len(anchors))
    levels = np.linspace(0.0, 1.0, _LEVELS)
    table = np.stack([np.interp(levels, positions, anchors[:, channel]) for channel in range(3)], axis=1)
    return (table * 255.0).astype(np.uint8)
