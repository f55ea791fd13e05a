"""A batch of images ready for the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.plan.resize_plan import Crop

__all__ = ["ProcessedBatch"]


@dataclass(frozen=True, eq=False)
class ProcessedBatch:
    """Images ready for the network. Unpacks as `tensor, extrinsics, intrinsics`.

    Attributes:
        tensor: (N, 3, H, W), contiguous: normalised (float32, on a GPU perhaps bfloat16 or float16), or `pixels` itself
            without normalisation.
        extrinsics: (N, 4, 4) float32 world-to-camera (OpenCV), unchanged, or None.
        intrinsics: (N, 3, 3) float32 in pixels of the result, or None.
        images: the N pictures that made it, in order, with their plans, ways and timings.
        failures: those that were left out.
        pixels: (N, 3, H, W) uint8 RGB, what `tensor` was made of, where `tensor` is.
        ready: passed when a GPU has made both; the caller's current stream waits for it already. None where there is
            nothing but that stream to wait for.
        windows: where each picture lies in its result, if pictures of different sizes were padded; else empty.
    """

    tensor: torch.Tensor
    extrinsics: torch.Tensor | None
    intrinsics: torch.Tensor | None
    images: tuple[PlannedImage, ...]
    failures: tuple[ImageFailure, ...]
    pixels: torch.Tensor
    ready: torch.cuda.Event | None = None
    windows: tuple[Crop, ...] = ()

    def part(self, first: int, last: int) -> ProcessedBatch:
        """The images from `first` to before `last`, without cameras."""
        window = slice(first, last)
        return replace(
            self,
            tensor=self.tensor[window],
            extrinsics=None,
            intrinsics=None,
            images=self.images[window],
            failures=(),
            pixels=self.pixels[window],
        )

    def __iter__(self) -> Iterator[torch.Tensor | None]:
        yield from (self.tensor, self.extrinsics, self.intrinsics)
