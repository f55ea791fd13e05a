"""Sky and metric scale: depth and sky maps in, depth with a sensible sky, or in metres, out.

Every quantile is exact and taken over one scene. The authors' implementation takes them over the whole batch, and
over a random sample where there are more than 100,000 pixels; with one scene and fewer pixels the results are equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX

__all__ = ["MetricScenes", "align_to_metric", "canonical_to_metres", "fill_sky", "masked_percentile"]

_SKY_BELOW = 0.3  # what is less is ground
_TOO_FEW = 10  # pixels, to say something of them
_FAR_PERCENTILE = 99
_FARTHEST_SKY = 200.0  # metres
_MIN_METRIC_DEPTH = 1e-2
_MIN_DEPTH = 1e-3


def masked_percentile(values: Tensor, mask: Tensor, percent: int) -> Tensor:
    """Percentile of the chosen values of each row, linearly interpolated; any number of values.

    Args:
        values: `(B, n)` floating point.
        mask: `(B, n)` bool.
        percent: 0 to 100.

    Returns:
        `(B,)`; NaN for a row of which nothing is chosen.
    """
    # Sorted, what is not chosen comes last; there is no transfer, and no limit as torch.quantile has one.
    ordered = torch.where(mask, values, torch.nan).sort(dim=-1).values
    steps = percent * (mask.sum(dim=-1, keepdim=True) - 1).clamp_min(0)
    low = ordered.gather(-1, steps // 100)
    high = ordered.gather(-1, -(-steps // 100))
    # Where both are equal, infinity included, so is the result.
    between = torch.lerp(low, high, (steps % 100).to(values.dtype) / 100)
    return torch.where(low == high, low, between).squeeze(-1)


def fill_sky(depth: Tensor, sky: Tensor) -> Tensor:
    """Give the sky of each scene the 99th percentile of the scene's ground depth.

    Args:
        depth: `(B, S, H, W)`.
        sky: `(B, S, H, W)`; 0.3 and more is sky.

    Returns:
        `(B, S, H, W)`. A scene with ten or fewer pixels of either kind stays as it is.
    """
    ground = sky < _SKY_BELOW
    count = ground.flatten(1).sum(dim=-1)
    both = (count > _TOO_FEW) & (ground[0].numel() - count > _TOO_FEW)
    far = masked_percentile(depth.flatten(1), ground.flatten(1), _FAR_PERCENTILE)
    return torch.where(~ground & _per_scene(both), _per_scene(far), depth)


def canonical_to_metres(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Canonical depth, that of a focal length of 300 pixels, to metres.

    Args:
        depth: `(B, S, H, W)`.
        intrinsics: `(B, S, 3, 3)` in pixels of the network's input.
    """
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (focal / CANONICAL_FOCAL_PX)[..., None, None]


class MetricScenes(NamedTuple):
    """Scenes in metres, as far as they could be brought there.

    Attributes:
        depth: `(B, S, H, W)`.
        depth_conf: `(B, S, H, W)`.
        extrinsics: `(B, S, 3, 4)`, world to camera.
        is_metric: `(B,)` int64: 1 for a scene in metres, 0 for one that kept its own unit, for want of ground or of
            depth that can be compared.
        scale_factor: `(B,)` what depth and translations were multiplied by; NaN where `is_metric` is 0.
    """

    depth: Tensor
    depth_conf: Tensor
    extrinsics: Tensor
    is_metric: Tensor
    scale_factor: Tensor


def align_to_metric(
    depth: Tensor, depth_conf: Tensor, extrinsics: Tensor, metric_depth: Tensor, sky: Tensor
) -> MetricScenes:
    """Scale each scene so that its surer half of the ground fits a metric depth in the least squares.

    The sky then gets the 99th percentile of the ground depth, 200 metres at most, and confidence 1.

    Args:
        depth: `(B, S, H, W)` in the unit of the poses.
        depth_conf: `(B, S, H, W)`.
        extrinsics: `(B, S, 3, 4)`, world to camera.
        metric_depth: `(B, S, H, W)` in metres.
        sky: `(B, S, H, W)`; 0.3 and more is sky.
    """
    ground = sky < _SKY_BELOW
    median = masked_percentile(depth_conf.flatten(1), ground.flatten(1), 50)
    used = ground & (depth_conf >= _per_scene(median)) & (metric_depth > _MIN_METRIC_DEPTH) & (depth > _MIN_DEPTH)
    # Selected, not only weighted: a depth left out may be infinite.
    ours, metric = (torch.where(used, x, 0).flatten(1) for x in (depth, metric_depth))
    scale = (metric * ours).sum(dim=-1) / (ours * ours).sum(dim=-1).clamp_min(1e-12)
    # No pixel used gives 0, a depth that is not finite NaN.
    scaled = (ground.flatten(1).sum(dim=-1) > _TOO_FEW) & (scale > 0) & scale.isfinite()
    factor = torch.where(scaled, scale, 1)

    depth = depth * _per_scene(factor)
    far = masked_percentile(depth.flatten(1), ground.flatten(1), _FAR_PERCENTILE).clamp_max(_FARTHEST_SKY)
    is_sky = ~ground & _per_scene(scaled)
    translation = extrinsics[..., 3:] * _per_scene(factor)
    return MetricScenes(
        depth=torch.where(is_sky, _per_scene(far), depth),
        depth_conf=torch.where(is_sky, 1.0, depth_conf),
        extrinsics=torch.cat([extrinsics[..., :3], translation], dim=-1),
        is_metric=scaled.long(),
        scale_factor=torch.where(scaled, scale, torch.nan),
    )


def _per_scene(x: Tensor) -> Tensor:
    """`(B,)` to `(B, 1, 1, 1)`."""
    return x[:, None, None, None]
