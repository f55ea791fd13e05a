"""8-bit pixels in, the network's float32 values out: `(x / 255 - mean) / std`."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["MEAN", "STD", "normalize", "normalized_levels"]

MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's red, green and blue on the scale 0 to 1, as DINOv2 was trained."""

STD = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""


def normalized_levels() -> npt.NDArray[np.float32]:
    """(3, 256) float32: the normalised value of every level of red, green and blue.

    Three float32 roundings in the order of the formula, so that looking a value up equals computing it bit for bit.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    mean = np.asarray(MEAN, np.float32)[:, None]
    std = np.asarray(STD, np.float32)[:, None]
    return np.asarray((levels - mean) / std, np.float32)


def normalize(
    pixels: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Normalise one picture by looking its levels up.

    Args:
        pixels: (3, H, W) uint8 RGB.
        levels: what `normalized_levels` gives.
        out: (3, H, W) float32 to write to, contiguous.

    Returns:
        (3, H, W) float32, between -2.12 and 2.64; `out` if that was given.
    """
    if out is None:
        out = np.empty(pixels.shape, np.float32)
    for plane, table, target in zip(pixels, levels, out, strict=True):
        cv2.LUT(plane, table, target)
    return out
