"""8-bit pixels in, the network's float32 values out: `(x / 255 - mean) / std`."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

__all__ = ["MEAN", "STD", "normalize", "normalize_on", "normalized_levels"]

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


def normalize_on(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Normalise pictures where the network is: what crosses the bus is 8 bits a sample.

    Args:
        pixels: (..., 3, H, W) uint8 RGB, on the CPU.
        device: of the network.

    Returns:
        (..., 3, H, W) float32 on `device`; on the CPU bit-equal to `normalize`, elsewhere within 5e-7.
    """
    if device.type == "cpu":
        pictures = pixels.reshape(-1, *pixels.shape[-3:]).numpy()
        out = np.empty(pictures.shape, np.float32)
        levels = normalized_levels()
        for picture, target in zip(pictures, out, strict=True):
            normalize(picture, levels, target)
        return torch.from_numpy(out).reshape(pixels.shape)
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(STD, device=device).view(3, 1, 1)
    return (pixels.to(device, non_blocking=True).to(torch.float32) / 255.0 - mean) / std
