"""Full-size uint8 pictures on a device in, uint8 and normalised pictures out, by a generic resize as the field uses it.

For comparison only. Kornia's antialiased resizes are not the reference's: about 32 dB away from it at 4K, where the
exact resamplers are within 1 level; and its centre crop interpolates where the margin is odd.
"""

from __future__ import annotations

from collections.abc import Sequence

import kornia
import torch

from depth_anything_3.inputs.plan.resize_plan import Interpolation, Orientation, ResizePlan
from depth_anything_3.inputs.resample.torch_resampler import TorchNormalizer

__all__ = ["KorniaResampler"]


class KorniaResampler(TorchNormalizer):
    """The naive baseline: the whole picture as float, turned, resized step by step, cropped."""

    name = "kornia"

    def __call__(
        self,
        pictures: Sequence[torch.Tensor],
        plan: ResizePlan,
        slots: Sequence[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        """As `DeviceResampler` says, but not within its bounds."""
        for picture, slot in zip(pictures, slots, strict=True):
            result = _turned(picture.permute(2, 0, 1), plan.orientation)[None].to(torch.float32)
            for step in plan.steps:
                kernel = "area" if step.interpolation is Interpolation.AREA else "bicubic"
                result = kornia.geometry.transform.resize(result, step.result_hw, interpolation=kernel, antialias=True)
            if plan.crop:
                result = kornia.geometry.transform.center_crop(result, (plan.crop.height, plan.crop.width))
            levels = result[0].clamp(0.0, 255.0).round()
            pixels[slot] = levels.to(torch.uint8)
            if normalized is not None:
                normalized[slot] = self._normalize(levels)


def _turned(picture: torch.Tensor, turn: Orientation) -> torch.Tensor:
    """(3, H, W) as stored to upright."""
    reversed_axes = [axis for axis, flip in ((1, turn.flip_rows), (2, turn.flip_columns)) if flip]
    if reversed_axes:
        picture = picture.flip(reversed_axes)
    return picture.transpose(1, 2) if turn.transpose else picture
