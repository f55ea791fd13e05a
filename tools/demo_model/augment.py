"""Augment images of the pool to a training batch: random crop, size, flip and colours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pool import Drawn, decode_depth

__all__ = ["Batch", "coarse_truth", "make_batch", "normalise"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_WHOLE_SHARE = 0.6  # of the images are not cropped: a crop's middle is not where the camera looked


class Batch(NamedTuple):
    """`image` `(n, 3, H, W)` ImageNet-normalised, `log_depth` `(n, H, W)` of metres, `sky` `(n, H, W)` bool."""

    image: Tensor
    log_depth: Tensor
    sky: Tensor


def normalise(image: Tensor) -> Tensor:
    """RGB 0..1 `(n, 3, H, W)` as the network takes it."""
    return (image - image.new_tensor(_MEAN).view(3, 1, 1)) / image.new_tensor(_STD).view(3, 1, 1)


def make_batch(drawn: Drawn, size: tuple[int, int], rng: np.random.Generator) -> Batch:
    """Resize to `size` (height, width), crop some of the images, flip half of them, change their colours."""
    n = len(drawn.image)
    log_depth, sky = decode_depth(drawn.depth)
    image = torch.from_numpy(drawn.image).float() / 255.0
    whole = rng.random((n, 1)) < _WHOLE_SHARE
    share = np.where(whole, 1.0, rng.uniform(0.6, 1.0, (n, 1)) ** 0.7 * rng.uniform(0.92, 1.0, (n, 2)))
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.from_numpy(share[:, 0] * rng.choice((-1.0, 1.0), n))
    theta[:, 1, 1] = torch.from_numpy(share[:, 1])
    shift = torch.from_numpy(rng.uniform(-1.0, 1.0, (n, 2)).astype(np.float32))
    theta[:, :, 2] = shift * (1.0 - torch.stack([theta[:, 0, 0].abs(), theta[:, 1, 1]], dim=1))
    grid = F.affine_grid(theta, [n, 3, *size], align_corners=False)
    truth = torch.stack([log_depth, sky.float()], dim=1)
    truth = F.grid_sample(truth, grid, mode="nearest", padding_mode="border", align_corners=False)
    image = F.grid_sample(_reduced(image, size), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return Batch(normalise(_recolour(image, rng)), truth[:, 0], truth[:, 1] > 0.5)


def coarse_truth(batch: Batch) -> Batch:
    """Sample the truth at the cells of the coarse output, whose corner cells are the image's corner pixels."""
    rows, columns = (torch.linspace(0, n - 1, n * 8 // 14).round().long() for n in batch.sky.shape[1:])
    depth, sky = (truth[:, rows][:, :, columns] for truth in batch[1:])
    return Batch(batch.image, depth, sky)


def _reduced(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Blur what the grid would alias: about as wide as a target pixel."""
    if image.shape[2] < 1.6 * size[0]:
        return image
    return F.avg_pool2d(image, 2)


def _recolour(image: Tensor, rng: np.random.Generator) -> Tensor:
    n = len(image)

    def draw(spread: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.normal(0.0, spread, (n, channels, 1, 1)).astype(np.float32))

    image = image.clamp(1e-4, 1.0).pow(draw(0.2).exp())
    grey = image.mean(1, keepdim=True)
    image = torch.lerp(grey, image, draw(0.25).exp())
    mean = image.mean((1, 2, 3), keepdim=True)
    image = (image - mean) * draw(0.15).exp() + mean
    image = image * (draw(0.12) + draw(0.05, 3)).exp() + draw(0.02)
    return image.clamp(0.0, 1.0)
