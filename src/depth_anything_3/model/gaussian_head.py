"""Head that predicts the raw parameters of one 3D Gaussian per pixel.

`gaussian_adapter` converts them to Gaussians in world coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from depth_anything_3.model.catalog import Preset
from depth_anything_3.model.dpt import DptTrunk, Scratch, in_chunks, resize_map

__all__ = ["GaussianHead", "RawGaussians"]

_RAW_CHANNELS = 37


class RawGaussians(NamedTuple):
    """Output of the head for every pixel.

    Attributes:
        raw: `(B, S, H, W, 37)`: offset in the image in pixels (2), scales (3), quaternion (4), spherical harmonics (3
            colours of 9 coefficients), depth offset (1); before activations.
        density: `(B, S, H, W)` opacity, 0 to 1.
    """

    raw: Tensor
    density: Tensor


class GaussianHead(DptTrunk):
    """A DPT head that also uses the colours of the image."""

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

    def forward(self, features: Sequence[Tensor], images: Tensor, *, views_at_once: int | None = None) -> RawGaussians:
        """Predict the Gaussians of all views.

        Args:
            features: Four `(B, S, N, D)`, patches row by row.
            images: `(B, S, 3, H, W)` ImageNet-normalised RGB, the network's input.
            views_at_once: Number of views processed together; None selects it by the available memory.
        """
        at_once = views_at_once or self.views_at_once((images.shape[-2], images.shape[-1]), images.device)
        return RawGaussians(*in_chunks(self._maps, (*features, images), at_once))

    def _maps(self, *chunk: Tensor) -> tuple[Tensor, Tensor]:
        *features, images = chunk
        image_size = (images.shape[-2], images.shape[-1])
        fused = self.scratch.fuse(self.levels(features, image_size))
        neck = resize_map(self.scratch.output_conv1(fused), image_size)
        neck = self.add_uv_(neck + self.images_merger(images.float()), image_size)
        logits: Tensor = self.scratch.output_conv2(neck)
        return logits[:, :_RAW_CHANNELS].permute(0, 2, 3, 1), logits[:, _RAW_CHANNELS].sigmoid()
