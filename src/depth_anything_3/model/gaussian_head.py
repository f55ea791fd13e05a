"""Gaussian head: four levels of patch features and the images in, raw numbers per Gaussian out.

One Gaussian per pixel. The numbers are the network's own; they are not placed in the world here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from depth_anything_3.model.dpt import VIEWS_AT_ONCE, DptTrunk, Scratch, in_chunks, resize_map
from depth_anything_3.model.presets import Preset
from depth_anything_3.model.uv_embedding import add_uv_embedding_

__all__ = ["GaussianHead", "RawGaussians"]

_RAW_CHANNELS = 37


class RawGaussians(NamedTuple):
    """What the head predicts for every pixel.

    Attributes:
        raw: `(B, S, H, W, 37)`: offset in the image in pixels (2), scales (3), quaternion (4), spherical
            harmonics (3 colours of 9 coefficients), depth offset (1); none of them activated.
        density: `(B, S, H, W)` opacity, 0 to 1.
    """

    raw: Tensor
    density: Tensor


class GaussianHead(DptTrunk):
    """A DPT head that also sees the colours of the image."""

    def __init__(self, preset: Preset) -> None:
        features = preset.head_features
        super().__init__(
            preset.feature_width,
            preset.head_channels,
            norm=nn.Identity(),
            scratch=Scratch(preset.head_channels, features, outputs=_RAW_CHANNELS + 1),
        )
        self.images_merger = nn.Sequential(
            nn.Conv2d(3, features // 8, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(features // 8, features // 4, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(features // 4, features // 2, kernel_size=3, padding=1),
            nn.GELU(),
        )

    def forward(
        self, features: Sequence[Tensor], images: Tensor, *, views_at_once: int = VIEWS_AT_ONCE
    ) -> RawGaussians:
        """Predict the Gaussians of all views.

        Args:
            features: Four `(B, S, N, D)`, patches row by row.
            images: `(B, S, 3, H, W)` ImageNet-normalised RGB, the network's input.
            views_at_once: Views processed together, to bound memory.
        """
        return RawGaussians(*in_chunks(self._maps, (*features, images), views_at_once))

    def _maps(self, *chunk: Tensor) -> tuple[Tensor, Tensor]:
        *features, images = chunk
        height, width = images.shape[-2:]
        fused = self.scratch.fuse(self.levels(features, (height, width)))
        neck = resize_map(self.scratch.output_conv1(fused), (height, width))
        neck = add_uv_embedding_(neck + self.images_merger(images.float()), width / height)
        logits: Tensor = self.scratch.output_conv2(neck)
        return logits[:, :_RAW_CHANNELS].permute(0, 2, 3, 1), logits[:, _RAW_CHANNELS].sigmoid()
