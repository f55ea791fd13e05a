"""DPT head of the mono and metric networks, which predicts depth and sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from depth_anything_3.model.catalog import Preset
from depth_anything_3.model.dpt import DptTrunk, Scratch, in_chunks, output_convs, resize_map

__all__ = ["SkyDptHead", "SkyMaps"]


class SkyMaps(NamedTuple):
    """Output of the head for every view.

    Attributes:
        depth: `(B, S, H, W)` along the optical axis; undefined in the sky.
        sky: `(B, S, H, W)`, 0 on the ground and about 1 in the sky.
    """

    depth: Tensor
    sky: Tensor


class SkyScratch(Scratch):
    """The layers of the trunk with a second output for sky."""

    def __init__(self, channels: Sequence[int], features: int) -> None:
        super().__init__(channels, features, outputs=1)
        self.sky_output_conv2 = output_convs(features, 1)


class SkyDptHead(DptTrunk):
    """Predicts depth and sky from the backbone's features."""

    scratch: SkyScratch

    def __init__(self, preset: Preset) -> None:
        super().__init__(
            preset.feature_width,
            preset.head_channels,
            norm=nn.Identity(),
            scratch=SkyScratch(preset.head_channels, preset.head_features),
            uv=False,
        )

    def forward(
        self, features: Sequence[Tensor], image_size: tuple[int, int], *, views_at_once: int | None = None
    ) -> SkyMaps:
        """Predict the maps of all views.

        Args:
            features: Four `(B, S, N, D)`, patches row by row.
            image_size: (height, width) of the input images in pixels.
            views_at_once: Number of views processed together; None selects it by the available memory.
        """

        def head(*chunk: Tensor) -> tuple[Tensor, ...]:
            return self._maps(chunk, image_size)

        at_once = views_at_once or self.views_at_once(image_size, features[0].device)
        return SkyMaps(*in_chunks(head, features, at_once))

    def _maps(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        fused = self.scratch.fuse(self.levels(features, image_size))
        neck = resize_map(self.scratch.output_conv1(fused), image_size)
        depth: Tensor = self.scratch.output_conv2(neck)
        sky: Tensor = self.scratch.sky_output_conv2(neck)
        return depth[:, 0].exp(), F.relu(sky[:, 0])
