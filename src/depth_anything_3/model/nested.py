"""Nested network: an any-view network scaled to metres by a metric one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from depth_anything_3.model.catalog import NestedPreset, Preset, find_card
from depth_anything_3.model.choices import RefViewStrategy
from depth_anything_3.model.metric_scale import align_to_metric, canonical_to_metres
from depth_anything_3.model.network import DepthAnything3Net

__all__ = ["NestedDepthAnything3Net", "build_network"]


class NestedDepthAnything3Net(nn.Module):
    """The nested network of Depth Anything 3 (Lin et al., 2025): cameras of the one branch, metres of the other.

    Args:
        any_view: Preset, or its name, of the branch that predicts everything.
        metric: Preset, or its name, of the branch that tells metres and sky.
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
        export_feat_layers: Iterable[int] = (),
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str | RefViewStrategy = RefViewStrategy.SADDLE_BALANCED,
        generator: torch.Generator | None = None,
    ) -> dict[str, Any]:
        """Predict depth and cameras of B scenes of S views each, in metres.

        Arguments and results are those of the any-view :class:`DepthAnything3Net`, whose options all apply. Depth and
        the translations of the poses are in metres; Gaussians, if any, are not. Each scene is scaled by itself.

        Returns:
            As the any-view network, and

            - `is_metric` `(B,)` int64: 1, or 0 for a scene that could not be brought to metres, since nearly all of it
              is sky. It keeps its own unit;
            - `scale_factor` `(B,)` what depth and translations were multiplied by; NaN where `is_metric` is 0.

            The depth of the sky is the 99th percentile of the scene's ground depth, 200 metres at most, and its
            confidence 1.

        Raises:
            InvalidInputError: As for the any-view network.
        """
        out: dict[str, Any] = self.da3(
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
            # By the predicted intrinsics, also where others were given: depth and scale must fit together.
            metric_depth = canonical_to_metres(metric["depth"], out["intrinsics"])
            scenes = align_to_metric(out["depth"], out["depth_conf"], out["extrinsics"], metric_depth, metric["sky"])
        return out | scenes._asdict()

    def check_options(
        self,
        *,
        has_poses: bool = False,
        export_feat_layers: Iterable[int] = (),
        infer_gs: bool = False,
        ref_view_strategy: str | RefViewStrategy = RefViewStrategy.SADDLE_BALANCED,
    ) -> None:
        """As :meth:`DepthAnything3Net.check_options`."""
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
