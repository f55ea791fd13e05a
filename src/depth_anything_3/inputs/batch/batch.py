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
    """Images ready for the network. Used as a tuple, it is `(tensor, extrinsics, intrinsics)`.

    Attributes:
        tensor: (N, 3, H, W), contiguous: normalised float32 (on a GPU also bfloat16 or float16), or `pixels` itself
            without normalisation.
        extrinsics: (N, 4, 4) float32 world-to-camera (OpenCV), unchanged, or None.
        intrinsics: (N, 3, 3) float32 in pixels of the result, or None.
        images: the N images in order, with their plans, routing decisions and timings.
        failures: the images that were skipped.
        pixels: (N, 3, H, W) uint8 RGB before normalisation, on the same device as `tensor`.
        ready: CUDA event recorded when both tensors are complete; the caller's current stream already waits for it.
            None if the work ran on that stream or on the CPU.
        windows: position of each image in its result, if images of different sizes were padded; else empty.
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
        """Return the images `first` to `last - 1` as a batch without cameras."""
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

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> torch.Tensor | None:
        return (self.tensor, self.extrinsics, self.intrinsics)[place]
