"""Fill the depth of the sky, and scale depth to metric units.

Every quantile is exact and taken over one scene. Upstream takes it over the whole batch, and over a random sample of
more than 100,000 pixels; for one scene with fewer pixels the results are equal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX
from depth_anything_3.model.tracing import is_recording

__all__ = ["MetricScenes", "align_to_metric", "canonical_to_metric", "fill_sky", "masked_percentile"]

_SKY_THRESHOLD = 0.3  # smaller values are ground
_NEGLIGIBLE = 10  # pixels of sky or ground that are ignored
_FAR_PERCENTILE = 99
_MAX_SKY_DEPTH = 200.0  # metres
_MIN_METRIC_DEPTH = 1e-2
_MIN_DEPTH = 1e-3


def masked_percentile(values: Tensor, mask: Tensor, percent: int) -> Tensor:
    """Compute a linearly interpolated percentile of the selected values of each row, for any number of values.

    Args:
        values: `(B, n)` floating point.
        mask: `(B, n)` bool.
        percent: 0 to 100.

    Returns:
        `(B,)`; NaN for a row without selected values.
    """
    count = mask.sum(dim=-1, keepdim=True)
    steps = percent * (count - 1).clamp_min(0)
    if is_recording():
        # The same values among the largest ones, of which TensorRT returns at most 3,840. Other libraries do not sort
        # NaN: without selected values a recorded graph returns minus infinity.
        kept = values.shape[-1] * (100 - percent) // 100 + 2
        ordered = torch.where(mask, values, -torch.inf).topk(kept, dim=-1).values
        last = (count - 1).clamp_min(0)
        low, high = (ordered.gather(-1, last - one) for one in (steps // 100, (steps + 99) // 100))
    else:
        # Sorting puts the other values last. Unlike torch.quantile this has no size limit and no host transfer.
        ordered = torch.where(mask, values, torch.nan).sort(dim=-1).values
        low, high = (ordered.gather(-1, one) for one in (steps // 100, (steps + 99) // 100))
    # Equal neighbours, infinity included, give that value.
    between = torch.lerp(low, high, (steps % 100).to(values.dtype) / 100)
    return torch.where(low == high, low, between).squeeze(-1)


def fill_sky(depth: Tensor, sky: Tensor) -> Tensor:
    """Set the depth of each scene's sky to the 99th percentile of the scene's ground depth.

    Args:
        depth: `(B, S, H, W)`.
        sky: `(B, S, H, W)`; values of 0.3 and more are sky.

    Returns:
        `(B, S, H, W)`. A scene with at most ten pixels of sky or of ground is unchanged.
    """
    ground = sky < _SKY_THRESHOLD
    count = ground.flatten(1).sum(dim=-1)
    both = (count > _NEGLIGIBLE) & (ground[0].numel() - count > _NEGLIGIBLE)
    far = masked_percentile(depth.flatten(1), ground.flatten(1), _FAR_PERCENTILE)
    return torch.where(~ground & _per_scene(both), _per_scene(far), depth)


def canonical_to_metric(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Convert canonical depth, which refers to a focal length of 300 pixels, to metric depth.

    Args:
        depth: `(B, S, H, W)`.
        intrinsics: `(B, S, 3, 3)` in pixels of the network's input.
    """
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (focal / CANONICAL_FOCAL_PX)[..., None, None]


class MetricScenes(NamedTuple):
    """Scenes after metric alignment.

    Attributes:
        depth: `(B, S, H, W)`.
        depth_conf: `(B, S, H, W)`.
        extrinsics: `(B, S, 3, 4)`, world to camera.
        is_metric: `(B,)` int64: 1 for a metric scene, 0 for one that was not scaled, because it has too little ground
            or no comparable depth.
        scale_factor: `(B,)` factor applied to depth and translations; NaN where `is_metric` is 0.
    """

    depth: Tensor
    depth_conf: Tensor
    extrinsics: Tensor
    is_metric: Tensor
    scale_factor: Tensor


def align_to_metric(
    depth: Tensor, depth_conf: Tensor, extrinsics: Tensor, metric_depth: Tensor, sky: Tensor
) -> MetricScenes:
    """Scale each scene to metric depth, by least squares over the half of the ground with the higher confidence.

    The depth of the sky becomes the 99th percentile of the ground depth, at most 200 metres, with confidence 1.

    Args:
        depth: `(B, S, H, W)` in the unit of the poses.
        depth_conf: `(B, S, H, W)`.
        extrinsics: `(B, S, 3, 4)`, world to camera.
        metric_depth: `(B, S, H, W)` in metres.
        sky: `(B, S, H, W)`; values of 0.3 and more are sky.
    """
    ground = sky < _SKY_THRESHOLD
    median = masked_percentile(depth_conf.flatten(1), ground.flatten(1), 50)
    used = ground & (depth_conf >= _per_scene(median)) & (metric_depth > _MIN_METRIC_DEPTH) & (depth > _MIN_DEPTH)
    # Masked rather than weighted by 0, because unused depth may be infinite.
    relative, metric = (torch.where(used, x, 0).flatten(1) for x in (depth, metric_depth))
    scale = (metric * relative).sum(dim=-1) / (relative * relative).sum(dim=-1).clamp_min(1e-12)
    # The scale is 0 without used pixels, and NaN if used depth is not finite.
    scaled = (ground.flatten(1).sum(dim=-1) > _NEGLIGIBLE) & (scale > 0) & scale.isfinite()
    factor = torch.where(scaled, scale, 1)

    depth = depth * _per_scene(factor)
    far = masked_percentile(depth.flatten(1), ground.flatten(1), _FAR_PERCENTILE).clamp_max(_MAX_SKY_DEPTH)
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
    """Reshape `(B,)` to `(B, 1, 1, 1)`."""
    return x[:, None, None, None]
