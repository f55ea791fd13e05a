"""`depth_vis`: the picture and its depth in colour, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.view_names import view_names
from depth_anything_3.prediction import Prediction

__all__ = ["colorize_depth", "inverse_depth_range", "spectral_table", "write"]

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
_FEW = 10  # with no more known depths than this, the range is not measured


def inverse_depth_range(depth: npt.NDArray[np.floating]) -> tuple[float, float] | None:
    """The 2nd and 98th percentile of the reciprocals of known (positive) depths; None with too few of them.

    Args:
        depth: of any shape.
    """
    known = depth[depth > 0]
    if known.size <= _FEW:
        return None
    low, high = np.percentile(1.0 / known, (2, 98))
    return float(low), float(high)


def colorize_depth(depth: npt.NDArray[np.floating], within: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """Colour a depth map by its reciprocal.

    Args:
        depth: (H, W).
        within: reciprocals of depth that get the last blue and the first red; None: `inverse_depth_range` of this map.

    Returns:
        (H, W, 3) uint8 RGB; near is red, far is blue.
    """
    value = np.zeros(depth.shape, np.float32)  # unknown depths count as infinitely far
    known = depth > 0
    value[known] = 1.0 / depth[known]
    low, high = (np.float32(bound) for bound in within or inverse_depth_range(depth) or (0.0, 0.0))
    if low == high:
        low, high = low - np.float32(1e-6), high + np.float32(1e-6)
    inverse_depth = np.clip((value - low) / (high - low), 0.0, 1.0)
    index = np.minimum((_LEVELS * (1.0 - inverse_depth)).astype(np.int64), _LEVELS - 1)
    return np.asarray(spectral_table()[index], np.uint8)


def spectral_table() -> npt.NDArray[np.uint8]:
    """The colour map, (256, 3) uint8 RGB; from red (near) to blue (far)."""
    anchors = np.array(_SPECTRAL, np.float64) / 255.0
    at = np.linspace(0.0, 1.0, len(anchors))
    levels = np.linspace(0.0, 1.0, _LEVELS)
    table = np.stack([np.interp(levels, at, anchors[:, channel]) for channel in range(3)], axis=1)
    return (table * 255.0).astype(np.uint8)


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """One JPEG a view: picture left, depth right.

    Raises:
        ExportError: a file cannot be written.
    """
    assert prediction.processed_images is not None
    paths = []
    names = view_names(prediction, name)
    for image, depth, view in zip(prediction.processed_images, prediction.depth, names, strict=True):
        paths.append(write_jpeg(export_dir / "depth_vis" / f"{view}.jpg", np.hstack([image, colorize_depth(depth)])))
    return paths
