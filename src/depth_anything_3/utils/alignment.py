"""Kept for clients of upstream: the steps of metric alignment. The networks use `model.metric_scale`."""

from __future__ import annotations

import torch
from torch import Tensor

from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX
from depth_anything_3.model.metric_scale import canonical_to_metric

__all__ = [
    "apply_metric_scaling",
    "compute_alignment_mask",
    "compute_sky_mask",
    "least_squares_scale_scalar",
    "sample_tensor_for_quantile",
    "set_sky_regions_to_max_depth",
]


def least_squares_scale_scalar(a: Tensor, b: Tensor, eps: float = 1e-12) -> Tensor:
    """Compute the scale `s` that minimises `|a - s b|`, over all values: `sum(a b) / max(sum(b b), eps)`.

    Args:
        a, b: of one shape.
        eps: lower bound of the divisor.
    """
    return (a * b).sum() / (b * b).sum().clamp_min(eps)


def compute_sky_mask(sky_prediction: Tensor, threshold: float = 0.3) -> Tensor:
    """Select what is NOT sky: values below the threshold.

    Args:
        sky_prediction: `sky` of a network's output, of any shape.
        threshold: smaller values are ground.
    """
    return sky_prediction < threshold


def compute_alignment_mask(
    depth_conf: Tensor,
    non_sky_mask: Tensor,
    depth: Tensor,
    metric_depth: Tensor,
    median_conf: Tensor | float,
    min_depth_threshold: float = 1e-3,
    min_metric_depth_threshold: float = 1e-2,
) -> Tensor:
    """Select the pixels to align by: confident, not sky, and with enough depth in both maps. All of one shape."""
    near = (depth > min_depth_threshold) & (metric_depth > min_metric_depth_threshold)
    return (depth_conf >= median_conf) & non_sky_mask & near


def sample_tensor_for_quantile(tensor: Tensor, max_samples: int = 100_000) -> Tensor:
    """Return at most `max_samples` values in one axis, a random choice by torch's global generator.

    `torch.quantile` takes no more than 16 million values.
    """
    values = tensor.reshape(-1)
    if values.numel() <= max_samples:
        return values
    return values[torch.randperm(values.numel(), device=values.device)[:max_samples]]


def apply_metric_scaling(depth: Tensor, intrinsics: Tensor, scale_factor: float = CANONICAL_FOCAL_PX) -> Tensor:
    """Convert canonical depth to metres: `depth * focal length / 300`.

    Args:
        depth: (..., H, W).
        intrinsics: (..., 3, 3) in pixels of the network's input.
        scale_factor: focal length that the depth refers to, in pixels.
    """
    return canonical_to_metric(depth, intrinsics) * (CANONICAL_FOCAL_PX / scale_factor)


def set_sky_regions_to_max_depth(
    depth: Tensor, depth_conf: Tensor, non_sky_mask: Tensor, max_depth: Tensor | float = 200.0
) -> tuple[Tensor, Tensor]:
    """Return depth with `max_depth` in the sky, and confidence with 1 there. All of one shape."""
    return torch.where(non_sky_mask, depth, max_depth), torch.where(non_sky_mask, depth_conf, 1.0)
