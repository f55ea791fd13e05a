"""The nested network: an any-view network whose output is scaled to metric depth by a metric network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from depth_anything_3.model.catalog import NestedPreset, Preset, find_card
from depth_anything_3.model.choices import RefViewStrategy, RefViewStrategyName
from depth_anything_3.model.metric_scale import align_to_metric, canonical_to_metric
from depth_anything_3.model.network import DepthAnything3Net
from depth_anything_3.runtime.attribute_dict import AttributeDict

__all__ = ["NestedDepthAnything3Net", "build_network"]


class NestedDepthAnything3Net(nn.Module):
    """The nested network of Depth Anything 3 (Lin et al., 2025), which predicts metric depth and cameras.

    Args:
        any_view: Preset, or its name, of the branch that predicts depth and cameras.
        metric: Preset, or its name, of the branch that predicts metric scale and sky.
    """

    def __init__(self, any_view: Preset | str, metric: Preset | str) -> None:
        super().__init__()
        self.da3 = DepthAnything3Net(any_view)
        self.da3_metric = DepthAnything3Net(metric)

    def forward(
        self,
        x: Tensor,
        extrinsics: Tensor | None = None,
        intrinsics: Tensor | None = None,
        export_feat_layers: Iterable[int] | None = (),
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = RefViewStrategy.SADDLE_BALANCED,
        generator: torch.Generator | None = None,
    ) -> AttributeDict[Any]:
        """Predict metric depth and cameras of B scenes of S views each.

        Arguments and results are those of the any-view :class:`DepthAnything3Net`. Depth and translations are in
        metres; Gaussians are not. Each scene is scaled independently.

        Returns:
            The results of the any-view network, and

            - `is_metric` `(B,)` int64: 1, or 0 for a scene that could not be scaled because it is nearly all sky;
            - `scale_factor` `(B,)` factor applied to depth and translations; NaN where `is_metric` is 0.

            The depth of the sky is the 99th percentile of the scene's ground depth, at most 200 metres, with
            confidence 1.

        Raises:
            InvalidInputError: See the any-view network.
        """
        out: AttributeDict[Any] = self.da3(
            x,
            extrinsics,
            intrinsics,
            export_feat_layers=export_feat_layers,
            infer_gs=infer_gs,
            use_ray_pose=use_ray_pose,
            ref_view_strategy=ref_view_strategy,
            generator=generator,
        )
        metric = self.da3_metric(x)
        with torch.autocast(device_type=x.device.type, enabled=False):
            # With the predicted intrinsics, even if others are given: depth and scale must be consistent.
            metric_depth = canonical_to_metric(metric["depth"], out["intrinsics"])
            scenes = align_to_metric(out["depth"], out["depth_conf"], out["extrinsics"], metric_depth, metric["sky"])
        out.update(scenes._asdict())
        return out

    def check_options(
        self,
        *,
        has_poses: bool = False,
        export_feat_layers: Iterable[int] = (),
        infer_gs: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = RefViewStrategy.SADDLE_BALANCED,
    ) -> None:
        """Check options; see :meth:`DepthAnything3Net.check_options`."""
        self.da3.check_options(
            has_poses=has_poses,
            export_feat_layers=export_feat_layers,
            infer_gs=infer_gs,
            ref_view_strategy=ref_view_strategy,
        )


def build_network(name: str) -> DepthAnything3Net | NestedDepthAnything3Net:
    """Build the network of a model of the catalog, with random weights.

    Args:
        name: One of the names in :data:`~depth_anything_3.model.catalog.MODEL_CARDS`.

    Raises:
        InvalidInputError: No model has this name.
    """
    network = find_card(name).network
    if isinstance(network, NestedPreset):
        return NestedDepthAnything3Net(network.any_view, network.metric)
    return DepthAnything3Net(network)
