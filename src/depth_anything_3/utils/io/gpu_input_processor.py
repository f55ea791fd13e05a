"""Prepare images for a network on a GPU, each by the strategy that suits it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.gpu_assembler import Arrival, DeviceAssembler
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.batch.records import OpenedImage, PreparedImage
from depth_anything_3.inputs.choices import Executor, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DeviceDecoder
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.limits import PATCH_SIZE
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.resample.gpu import open_resampler
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import (
    Capabilities,
    Choice,
    ImageTraits,
    Request,
    check_strategy,
    choose_strategy,
    min_source_hw,
)
from depth_anything_3.runtime.devices import choose_device

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
        InvalidInputError: there is no such device, the dtype or resampler is not accepted, or its library is missing.

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
        self.device = torch.empty(0, device=choose_device(device)).device  # with its index, as its tensors name it
        self.dtype = dtype
        self.capabilities = capabilities or find_capabilities(self.device)
        # Two threads that give Apple's GPU work at a time can end the process.
        self._assembles_in_background = self.device.type != "mps"
        self._assembler = DeviceAssembler(
            self.device,
            dtype,
            open_resampler(resampler or self.capabilities.resamplers[0], self.device),
            lambda name: open_decoder(name, self.device),
            self._finish_on_cpu,
            self._forget_decoder,
        )
        self._finisher = ImagePreparer()
        self._again = partial(
            GPUInputProcessor,
            self.device,
            dtype=dtype,
            resampler=resampler,
            capabilities=capabilities,
            open_decoder=open_decoder,
        )

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle and copy take; workers and caches stay behind
        return self._again, ()

    def warm_up(self) -> None:
        """Load decoders and compiled kernels now, not with the first pictures; compiling takes seconds, once."""
        super().warm_up()
        picture = np.zeros((3, 2 * PATCH_SIZE, 2 * PATCH_SIZE), np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture.transpose(1, 2, 0)).save(file, "JPEG")
        self([file.getvalue(), torch.from_numpy(picture).to(self.device)], process_res=PATCH_SIZE, num_workers=1)

    def close(self) -> None:
        """End the workers and give the decoders' memory back; the next call starts new ones."""
        super().close()
        self._assembler.close()

    def _worker(self, options: PreprocessOptions, request: Request) -> Callable[[int, ImageInput], Arrival]:
        check_strategy(self.capabilities, request)
        if options.executor is Executor.PROCESS:
            raise UnsupportedError(
                "executor='process' is for a network on the CPU; with a GPU the workers are threads: use 'thread'"
            )
        return partial(self._route, self._preparer(options), request)

    def _route(self, preparer: ImagePreparer, request: Request, index: int, image: ImageInput) -> Arrival:
        """Open an image, choose its way, and do the CPU's part of that."""
        opened = preparer.open(index, image)
        on_device = isinstance(opened.data, torch.Tensor) and opened.data.device == self.device
        traits = ImageTraits(opened.header, on_device=on_device, reduction=opened.plan.reduction)
        choice = choose_strategy(self.capabilities, traits, request)
        if choice.strategy is Strategy.GPU_DECODE:
            return replace(opened, choice=choice, min_hw=min_source_hw(opened.plan, request.fidelity))
        if choice.strategy is Strategy.FULL_GPU:
            return replace(preparer.decode(opened), choice=choice)
        return preparer.finish(opened, choice)

    def _enter(self) -> AbstractContextManager[Any]:  # Any: what torch's context gives
        self._assembler.follow_caller()
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _forget_decoder(self, name: str, reason: str) -> None:
        """The next images are given to the next decoder."""
        known = self.capabilities
        left = tuple(one for one in known.decoders if one.name != name)
        self.capabilities = replace(known, decoders=left, missing=(reason, *known.missing))

    def _assemble(self, images: Sequence[Arrival], normalized: bool) -> ProcessedBatch:
        return self._assembler(images, normalized)

    def _deliver(self, batch: ProcessedBatch) -> ProcessedBatch:
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

        return list(self._pools.last_used().map(finish, images, reasons))
