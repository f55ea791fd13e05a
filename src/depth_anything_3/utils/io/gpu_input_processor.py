"""Images in, one tensor in the GPU's memory out: each by its best way, in the caller's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.utils.io.batch_processor import BatchProcessor, ProcessedBatch
from depth_anything_3.utils.io.capabilities import find_capabilities
from depth_anything_3.utils.io.decode.device import DeviceDecoder
from depth_anything_3.utils.io.decode.device_decoders import open_decoder
from depth_anything_3.utils.io.device_batch import Arrival, DeviceAssembler
from depth_anything_3.utils.io.device_resample import open_resampler
from depth_anything_3.utils.io.failure import ImageFailure
from depth_anything_3.utils.io.prepare import ImagePreparer, OpenedImage, PreparedImage
from depth_anything_3.utils.io.source import ImageInput
from depth_anything_3.utils.io.strategy import (
    Capabilities,
    Choice,
    ImageTraits,
    Request,
    Strategy,
    check_strategy,
    choose_strategy,
    least_source_hw,
)

__all__ = ["GPUInputProcessor"]


class GPUInputProcessor(BatchProcessor[Arrival]):
    """Like `InputProcessor`, with its result on a GPU; what the CPU does of the work depends on image and machine.

    Files are decoded on the GPU where that pays (`Strategy.GPU_DECODE`); pixels in memory are shrunk on the CPU and
    normalised on the GPU (`HYBRID`); tensors on the GPU stay there (`FULL_GPU`). What a GPU decoder refuses goes the
    CPU way by itself: `batch.images[i].choice` tells which way each image took, and why. Work is queued on a stream of
    its own, for which the caller's current stream waits.

    Args:
        device: CUDA or Apple GPU.
        dtype: of normalised values: float32, bfloat16 or float16.
        resampler: "triton", "torch" or "kornia"; None takes the best there is. "kornia" is the field's naive way, kept
            for comparison: its pixels are not the reference's.
        capabilities: what the machine has, if it is known already.
        open_decoder: gives the decoder of a name for a device.

    Raises:
        InvalidInputError: the dtype or resampler is not accepted, or the library for it is missing.

    Example:
        >>> tensor, _, _ = GPUInputProcessor("cuda", dtype=torch.bfloat16)(["a.jpg", "b.jpg"])
    """

    def __init__(
        self,
        device: str | torch.device = "cuda",
        *,
        dtype: torch.dtype = torch.float32,
        resampler: str | None = None,
        capabilities: Capabilities | None = None,
        open_decoder: Callable[[str, torch.device], DeviceDecoder] = open_decoder,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise InvalidInputError(f"dtype={dtype} is not accepted; choose float32, bfloat16 or float16")
        self.device = _with_index(torch.device(device))
        self.dtype = dtype
        self.capabilities = capabilities or find_capabilities(self.device)
        self._assembler = DeviceAssembler(
            self.device,
            dtype,
            open_resampler(resampler or self.capabilities.resamplers[0], self.device),
            lambda name: open_decoder(name, self.device),
            self._finish_on_cpu,
        )
        self._finisher = ImagePreparer()

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle and copy take; workers and caches stay behind
        return partial(GPUInputProcessor, self.device, dtype=self.dtype, capabilities=self.capabilities), ()

    def close(self) -> None:
        """End the workers and give the decoders' memory back; the next call starts new ones."""
        super().close()
        self._assembler.close()

    def _worker(self, preparer: ImagePreparer, request: Request) -> Callable[[int, ImageInput], Arrival]:
        check_strategy(self.capabilities, request.strategy)
        return _Router(preparer, self.capabilities, request, self.device)

    def _assemble(self, images: Sequence[Arrival], normalized: bool) -> ProcessedBatch:
        return self._assembler(images, normalized)

    def _received(self, batch: ProcessedBatch) -> ProcessedBatch:
        return self._assembler.receive(batch)

    def _finish_on_cpu(
        self, images: Sequence[OpenedImage], reasons: Sequence[str]
    ) -> Sequence[PreparedImage | ImageFailure]:
        """Images that a GPU decoder refused, in the workers, which are idle or ahead of the GPU by now."""

        def finish(image: OpenedImage, reason: str) -> PreparedImage | ImageFailure:
            try:
                return self._finisher.finish(image, Choice(Strategy.HYBRID, reason))
            except DA3Error as error:
                return ImageFailure(image.index, image.label, error)

        return list(self._workers(self._pool_size or 1).map(finish, images, reasons))


@dataclass(frozen=True)
class _Router:
    """Opens an image, chooses its way, and does the CPU's part of that."""

    preparer: ImagePreparer
    capabilities: Capabilities
    request: Request
    device: torch.device

    def __call__(self, index: int, image: ImageInput) -> Arrival:
        opened = self.preparer.open(index, image)
        on_device = isinstance(opened.data, torch.Tensor) and opened.data.device == self.device
        traits = ImageTraits(opened.header, on_device=on_device, reduction=opened.plan.reduction)
        choice = choose_strategy(self.capabilities, traits, self.request)
        if choice.strategy is Strategy.GPU_DECODE:
            least = least_source_hw(opened.plan, self.request.fidelity)
            return replace(opened, choice=choice, least_hw=least)
        if choice.strategy is Strategy.FULL_GPU:
            return replace(self.preparer.decode(opened), choice=choice)
        return self.preparer.finish(opened, choice)


def _with_index(device: torch.device) -> torch.device:
    """The device as its tensors name it: "cuda" alone is the current one."""
    return torch.empty(0, device=device).device
