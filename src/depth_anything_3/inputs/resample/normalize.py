"""Normalise 8-bit pixels to float32: `(x / 255 - mean) / std`."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["MEAN", "STD", "normalize", "normalized_levels"]

MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean of red, green and blue in the range 0 to 1, as in DINOv2's training."""

STD = (0.229, 0.224, 0.225)
"""ImageNet standard deviation, likewise."""


def normalized_levels() -> npt.NDArray[np.float32]:
    """Return a (3, 256) float32 lookup table: the normalised value of every 8-bit level of red, green and blue.

    It rounds to float32 in the order of the formula, so a lookup equals the computation bit for bit.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    mean = np.asarray(MEAN, np.float32)[:, None]
    std = np.asarray(STD, np.float32)[:, None]
    return np.asarray((levels - mean) / std, np.float32)


def normalize(
    pixels: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Normalise one image with a lookup table.

    Args:
        pixels: (3, H, W) uint8 RGB.
        levels: table from `normalized_levels`.
        out: contiguous (3, H, W) float32 array to write to.

    Returns:
        (3, H, W) float32, between -2.12 and 2.64; `out` if given.
    """
    if out is None:
        out = np.empty(pixels.shape, np.float32)
    for plane, table, target in zip(pixels, levels, out, strict=True):
        cv2.LUT(plane, table, target)
    return out
