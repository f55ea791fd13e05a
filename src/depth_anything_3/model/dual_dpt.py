"""DPT head of the any-view networks, which predicts depth and rays with confidence.

One trunk feeds two fusion paths (DA3, Lin et al., 2025): the main path predicts depth at the size of the image, the
auxiliary path predicts the ray through each cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from depth_anything_3.model.catalog import Preset
from depth_anything_3.model.dpt import DptTrunk, FusionBlock, Scratch, fuse_levels, in_chunks, resize_map

__all__ = ["DenseMaps", "DualDptHead"]

_AUX_LEVELS = 4
_RAY_CHANNELS = 6

# The norm that all levels share, as upstream's `state_dict` repeats it for the levels after the first.
_NORM_COPY = re.compile(r"output_conv2_aux\.[1-9]\.2\.(weight|bias)")


class DenseMaps(NamedTuple):
    """Output of the head for every view.

    Attributes:
        depth: `(B, S, H, W)` along the optical axis, in the unit of the predicted poses.
        depth_conf: `(B, S, H, W)`, at least 1, higher is more confident.
        ray: `(B, S, h, w, 6)` with 8 cells per patch side: direction, then origin, in world coordinates; None if rays
            were not requested.
        ray_conf: `(B, S, h, w)`, at least 1; None if rays were not requested.
    """

    depth: Tensor
    depth_conf: Tensor
    ray: Tensor | None = None
    ray_conf: Tensor | None = None


class RayConvs(nn.ModuleDict):
    """The last layers of one auxiliary level, keyed as in the published weights; one level owns the norm."""

    def __init__(self, features: int, *, owns_norm: bool) -> None:
        super().__init__()
        self["0"] = nn.Conv2d(features // 2, 32, kernel_size=3, padding=1)
        if owns_norm:
            self["2"] = nn.LayerNorm(32)
        self["5"] = nn.Conv2d(32, _RAY_CHANNELS + 1, kernel_size=1)

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        """Map `(V, F/2, h, w)` to `(V, 7, h, w)`; the norm is over the channels of every cell."""
        x = norm(self["0"](x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: Tensor = self["5"](F.relu_(x))
        return out


class DualScratch(Scratch):
    """The layers of both paths.

    The auxiliary path has output layers for four levels, but only the last (finest) is evaluated. The others exist so
    that checkpoints can be loaded and saved completely. All levels share one layer norm, which the published weights
    store under level 0.
    """

    def __init__(self, channels: Sequence[int], features: int) -> None:
        super().__init__(channels, features, outputs=2)
        self.refinenet1_aux = FusionBlock(features)
        self.refinenet2_aux = FusionBlock(features)
        self.refinenet3_aux = FusionBlock(features)
        self.refinenet4_aux = FusionBlock(features, lateral=False)
        self.output_conv1_aux = nn.ModuleList(_five_convs(features) for _ in range(_AUX_LEVELS))
        self.output_conv2_aux = nn.ModuleList(RayConvs(features, owns_norm=level == 0) for level in range(_AUX_LEVELS))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:  # Any: torch's own
        """Accept upstream's copies of the shared norm; the highest level counts, as there."""
        for key in sorted(key for key in state_dict if _NORM_COPY.fullmatch(key.removeprefix(prefix))):
            leaf = key.rpartition(".")[2]
            state_dict[f"{prefix}output_conv2_aux.0.2.{leaf}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def fuse_aux(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse four levels like `fuse`, with the auxiliary path's blocks."""
        blocks = (self.refinenet1_aux, self.refinenet2_aux, self.refinenet3_aux, self.refinenet4_aux)
        return fuse_levels(levels, blocks)

    def ray_logits(self, x: Tensor) -> Tensor:
        """Apply the last auxiliary layers: `(V, F/2, h, w)` to `(V, 7, h, w)`."""
        shared_norm = self.output_conv2_aux[0].get_submodule("2")
        out: Tensor = self.output_conv2_aux[-1](x, shared_norm)
        return out


class DualDptHead(DptTrunk):
    """Predicts depth, and optionally rays, with confidence from the backbone's features."""

    scratch: DualScratch

    def __init__(self, preset: Preset) -> None:
        super().__init__(
            preset.feature_width,
            preset.head_channels,
            norm=nn.LayerNorm(preset.feature_width),
            scratch=DualScratch(preset.head_channels, preset.head_features),
        )

    def forward(
        self,
        features: Sequence[Tensor],
        image_size: tuple[int, int],
        *,
        with_rays: bool = False,
        views_at_once: int | None = None,
    ) -> DenseMaps:
        """Predict the maps of all views.

        Args:
            features: Four `(B, S, N, D)`, patches row by row.
            image_size: (height, width) of the input images in pixels.
            with_rays: Also evaluate the auxiliary path, nearly half of the head's work.
            views_at_once: Number of views processed together; None selects it by the available memory.
        """

        def head(*chunk: Tensor) -> tuple[Tensor, ...]:
            return self._maps(chunk, image_size, with_rays)

        at_once = views_at_once or self.views_at_once(image_size, features[0].device)
        return DenseMaps(*in_chunks(head, features, at_once))

    def _maps(self, features: Sequence[Tensor], image_size: tuple[int, int], with_rays: bool) -> tuple[Tensor, ...]:
        levels = self.levels(features, image_size)
        neck = resize_map(self.scratch.output_conv1(self.scratch.fuse(levels)), image_size)
        logits: Tensor = self.scratch.output_conv2(self.add_uv_(neck, image_size))
        depth, depth_conf = logits[:, 0].exp(), logits[:, 1].exp() + 1.0
        if not with_rays:
            return depth, depth_conf
        aux_neck: Tensor = self.scratch.output_conv1_aux[-1](self.scratch.fuse_aux(levels))
        rays = self.scratch.ray_logits(self.add_uv_(aux_neck, image_size)).permute(0, 2, 3, 1)
        return depth, depth_conf, rays[..., :_RAY_CHANNELS], rays[..., _RAY_CHANNELS].exp() + 1.0


def _five_convs(features: int) -> nn.Sequential:
    """Build five 3x3 convolutions in sequence, without activations between them."""
    wide, narrow = features, features // 2
    widths = (wide, narrow, wide, narrow, wide, narrow)
    return nn.Sequential(*(nn.Conv2d(a, b, kernel_size=3, padding=1) for a, b in pairwise(widths)))
