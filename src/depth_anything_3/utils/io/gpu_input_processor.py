"""Prepare images for a network on a GPU, each by its best strategy."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from depth_anything_3.errors import DA3Error, DeviceError, InvalidInputError, UnsupportedError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.batch_memory import SlotOf
from depth_anything_3.inputs.batch.gpu_assembler import GPUAssembler, HostResult
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.batch.records import OpenedImage, PreparedImage
from depth_anything_3.inputs.choices import Executor, ResamplerName, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.limits import PATCH_SIZE
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.resample.cpu import Share
from depth_anything_3.inputs.resample.gpu import open_resampler
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import (
    Capabilities,
    ImageTraits,
    Request,
    RoutingDecision,
    check_strategy,
    choose_strategy,
    min_source_hw,
)
from depth_anything_3.runtime.devices import choose_device

__all__ = ["GPUInputProcessor"]

_WARM_UP_SIDES = (2 * PATCH_SIZE + 4, 2 * PATCH_SIZE, 2 * PATCH_SIZE - 1)
"""Sides of images whose rows are aligned to 16, 4 and 1 bytes, interleaved as well as planar: kernels compile for each.

Videos and most photos are aligned to 16 or 4; cropped images are often not aligned.
"""


class GPUInputProcessor(BatchProcessor[HostResult]):
    """Like `InputProcessor`, but with batches on a GPU.

    Files are decoded on the GPU where that is faster (`Strategy.GPU_DECODE`); pixels in memory are resized on the CPU
    and normalised on the GPU (`HYBRID`); tensors on the GPU stay there (`FULL_GPU`). Images that a GPU decoder rejects
    fall back to the CPU. `batch.images[i].choice` records each image's strategy and the reason. Work is queued on a
    separate CUDA stream, which the caller's current stream waits for.

    Args:
        device: CUDA or Apple GPU.
        dtype: dtype of normalised values: float32, bfloat16 or float16.
        resampler: "triton", "torch" or "kornia"; None selects the best available. "kornia" is a naive baseline for
            comparison: its pixels differ from the reference.
        capabilities: capabilities of the machine; None queries them.
        open_decoder: opens the decoder of a name on a device.

    Raises:
        InvalidInputError: the device does not exist, the dtype or resampler is not accepted, or its library is missing.

    Example:
        >>> tensor, _, _ = GPUInputProcessor("cuda", dtype=torch.bfloat16)(["a.jpg", "b.jpg"])
    """

    def __init__(
        self,
        device: str | torch.device = "cuda",
        *,
        dtype: torch.dtype = torch.float32,
        resampler: ResamplerName | None = None,
        capabilities: Capabilities | None = None,
        open_decoder: Callable[[str, torch.device], GPUDecoder] = open_decoder,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise InvalidInputError(f"dtype={dtype} is not accepted; choose float32, bfloat16 or float16")
        self.device = torch.empty(
            0, device=choose_device(device)
        ).device  # with its index, for comparison with tensors' devices
        self.dtype = dtype
        self.capabilities = capabilities or find_capabilities(self.device)
        # Submitting work to Apple's GPU from two threads can crash the process.
        self._assembles_in_background = self.device.type != "mps"
        self._assembler = GPUAssembler(
            self.device,
            dtype,
            open_resampler(resampler or self.capabilities.resamplers[0], self.device),
            lambda name: open_decoder(name, self.device),
            self._finish_on_cpu,
            self._drop_decoder,
        )
        self._finisher = ImagePreparer()
        self._recreate = partial(
            GPUInputProcessor,
            self.device,
            dtype=dtype,
            resampler=resampler,
            capabilities=capabilities,
            open_decoder=open_decoder,
        )

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle accepts; workers and caches are not copied
        return self._recreate, ()

    def warm_up(self) -> None:
        """Load decoders and compiled kernels before the first image; compilation takes seconds, once per machine."""
        super().warm_up()
        file = io.BytesIO()
        Image.new("RGB", (_WARM_UP_SIDES[0],) * 2).save(file, "JPEG")
        images: list[ImageInput] = [file.getvalue()]
        for side in _WARM_UP_SIDES:
            interleaved = torch.zeros((side, side, 3), dtype=torch.uint8, device=self.device).permute(2, 0, 1)
            images += [interleaved, interleaved.contiguous()]
        self(images, process_res=PATCH_SIZE, num_workers=1)

    def release_memory(self) -> None:
        """Give back the memory of the decoders, which are reopened when needed, and what torch holds unused."""
        self._assembler.close()
        super().release_memory()

    def close(self) -> None:
        """End the workers and release the decoders' memory; the next call starts new ones."""
        super().close()
        self._assembler.close()

    def _renew_after_fork(self) -> None:
        if self._process == os.getpid():
            return
        if self.device.type == "cuda":
            raise DeviceError(
                f"{self.device}: CUDA does not work in the child of a fork; start the process with the method 'spawn' "
                "(DataLoader: multiprocessing_context='spawn'), or use InputProcessor there"
            )
        super()._renew_after_fork()
        self._assembler.renew_lock()

    def _worker(
        self, options: PreprocessOptions, request: Request, slot_of: SlotOf | None = None, share: Share | None = None
    ) -> Callable[[int, ImageInput], HostResult]:
        check_strategy(self.capabilities, request)
        if options.executor is Executor.PROCESS:
            raise UnsupportedError(
                "executor='process' requires a network on the CPU; with a GPU, use executor='thread'"
            )
        return partial(self._route, self._preparer(options), request, share)

    def _route(
        self, preparer: ImagePreparer, request: Request, share: Share | None, index: int, image: ImageInput
    ) -> HostResult:
        """Open an image, choose its strategy, and run the CPU stage."""
        opened = preparer.open(index, image)
        on_device = isinstance(opened.data, torch.Tensor) and opened.data.device == self.device
        traits = ImageTraits(opened.header, on_device=on_device, reduction=opened.plan.reduction)
        choice = choose_strategy(self.capabilities, traits, request)
        if choice.strategy is Strategy.GPU_DECODE:
            return replace(opened, choice=choice, min_hw=min_source_hw(opened.plan, request.fidelity))
        if choice.strategy is Strategy.FULL_GPU:
            return replace(preparer.decode(opened), choice=choice)
        return preparer.finish(opened, choice, share=share)

    def _enter(self) -> AbstractContextManager[Any]:  # Any: the context's value is not used
        self._assembler.note_caller_stream()
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _drop_decoder(self, name: str, reason: str) -> None:
        """Remove an unusable decoder, so that later images use the next best one."""
        known = self.capabilities
        decoders = tuple(one for one in known.decoders if one.name != name)
        self.capabilities = replace(known, decoders=decoders, missing=(reason, *known.missing))

    def _assemble(self, images: Sequence[HostResult], normalized: bool) -> ProcessedBatch:
        return self._assembler(images, normalized)

    def _deliver(self, batch: ProcessedBatch) -> ProcessedBatch:
        return self._assembler.hand_over(batch)

    def _finish_on_cpu(
        self, images: Sequence[OpenedImage], reasons: Sequence[str]
    ) -> Sequence[PreparedImage | ImageFailure]:
        """Finish images that a GPU decoder rejected, in the CPU workers, which are idle or ahead of the GPU."""

        def finish(image: OpenedImage, reason: str) -> PreparedImage | ImageFailure:
            try:
                return self._finisher.finish(image, RoutingDecision(Strategy.HYBRID, reason))
            except DA3Error as error:
                return ImageFailure(image.index, image.label, error)

        return list(self._pools.last_used().map(finish, images, reasons))
