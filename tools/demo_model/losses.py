"""Compute the training losses of log depth and sky."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from augment import Batch

__all__ = ["total_loss"]

_SCALES = 4
_GRADIENT_WEIGHT = 0.5
_SKY_WEIGHT = 0.5
_SCALE_INVARIANCE = 0.97
_SKY_STEEPNESS = 8.0
_SKY_MIDDLE = 0.4  # of the two thresholds of the output: ground below 0.3, sky from 0.5


def total_loss(log_depth: Tensor, sky: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Compute the sum to minimise, and its parts for the log."""
    ground = ~batch.sky
    error = (log_depth - batch.log_depth).masked_fill(batch.sky, 0.0)
    silog = _scale_invariant(error, ground)
    gradient = _gradient_matching(error, ground)
    wrong_sky = F.binary_cross_entropy_with_logits(_SKY_STEEPNESS * (sky - _SKY_MIDDLE), batch.sky.float())
    parts = {"silog": float(silog.detach()), "gradient": float(gradient.detach()), "sky": float(wrong_sky.detach())}
    return silog + _GRADIENT_WEIGHT * gradient + _SKY_WEIGHT * wrong_sky, parts


def _scale_invariant(error: Tensor, valid: Tensor) -> Tensor:
    """Eigen et al. (2014), the root of each image's, so that hard images do not outweigh the others."""
    count = valid.sum((1, 2)).clamp_min(1)
    mean = error.sum((1, 2)) / count
    square = error.square().sum((1, 2)) / count
    return (square - _SCALE_INVARIANCE * mean.square() + 1e-4).sqrt().mean()


def _gradient_matching(error: Tensor, valid: Tensor) -> Tensor:
    """Compare the error between neighbours at several scales (Li and Snavely, MegaDepth, 2018)."""
    total = error.new_zeros(())
    for scale in range(_SCALES):
        step = 2**scale
        e, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        across, both_across = e[:, :, 1:] - e[:, :, :-1], v[:, :, 1:] & v[:, :, :-1]
        down, both_down = e[:, 1:] - e[:, :-1], v[:, 1:] & v[:, :-1]
        total = total + (across.abs() * both_across).sum() / both_across.sum().clamp_min(1)
        total = total + (down.abs() * both_down).sum() / both_down.sum().clamp_min(1)
    return total / 2.0
