"""Assemble images of one size into a batch in the GPU's memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.records import OpenedImage, PlannedImage, PreparedImage
from depth_anything_3.inputs.batch.staging import Staging
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.batch_fallback import error_summary
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.resample.gpu import GPUResampler
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels

__all__ = ["GPUAssembler", "HostResult"]

logger = logging.getLogger(__name__)

_MAX_DECODED_BYTES = 2**31
"""Maximum bytes of full-size pixels per decode call; larger batches are split into several calls."""

HostResult = PreparedImage | OpenedImage
"""An image after the CPU stage: resampled pixels, or an opened file or frame for the GPU to process."""

CpuFallback = Callable[[Sequence[OpenedImage], Sequence[str]], Sequence[PreparedImage | ImageFailure]]
"""Finish on the CPU the images that a GPU decoder rejected, for the given reasons."""


class GPUAssembler:
    """Assemble batches on its own CUDA stream, one at a time. May be called from any thread.

    Args:
        device: the network's device.
        dtype: dtype of normalised values: float32, bfloat16 or float16.
        resampler: resampler for that device.
        open_decoder: opens the GPU decoder of a name; called once per name.
        cpu_fallback: finishes images that a GPU decoder rejects.
        on_unusable: called with the name of a decoder that cannot be opened, and the reason.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        resampler: GPUResampler,
        open_decoder: Callable[[str], GPUDecoder],
        cpu_fallback: CpuFallback,
        on_unusable: Callable[[str, str], None],
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._resampler = resampler
        self._open_decoder = open_decoder
        self._cpu_fallback = cpu_fallback
        self._on_unusable = on_unusable
        self._decoders: dict[str, GPUDecoder | str] = {}
        self._levels = normalized_levels()
        self._staging = Staging(device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._last: torch.cuda.Event | None = None
        self._lock = threading.Lock()

    def __call__(self, images: Sequence[HostResult], normalized: bool) -> ProcessedBatch:
        """Assemble a batch of images of one result size; images that cannot be decoded are recorded as failures."""
        self.wait_for_caller_stream()  # kernels queued by this thread may still be writing the frames
        # The caller's autocast, if active, would round the operators to half precision.
        with self._lock, self._on_stream(), torch.autocast(self._device.type, enabled=False):
            shape = (len(images), 3, *images[0].plan.result_hw)
            pixels = torch.empty(shape, dtype=torch.uint8, device=self._device)
            tensor = torch.empty(shape, dtype=self._dtype, device=self._device) if normalized else None
            outcomes: list[HostResult | ImageFailure] = list(images)
            self._decode(outcomes, pixels, tensor)
            self._resample_frames(outcomes, pixels, tensor)
            self._upload(outcomes, pixels, tensor)
            usable = [slot for slot, one in enumerate(outcomes) if not isinstance(one, ImageFailure)]
            if len(usable) < len(outcomes):
                pixels, tensor = pixels[usable], None if tensor is None else tensor[usable]
            batch = ProcessedBatch(
                tensor=pixels if tensor is None else tensor,
                extrinsics=None,
                intrinsics=None,
                images=tuple(_without_data(one) for one in outcomes if not isinstance(one, ImageFailure)),
                failures=tuple(one for one in outcomes if isinstance(one, ImageFailure)),
                pixels=pixels,
            )
            return replace(batch, ready=self._mark())

    def wait_for_caller_stream(self) -> None:
        """Make the assembler's stream wait for the work queued on this thread's current stream."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def hand_over(self, batch: ProcessedBatch) -> ProcessedBatch:
        """Make the caller's stream wait for the batch, and keep its memory alive until that stream is done."""
        if batch.ready is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(batch.ready)
            for tensor in (batch.tensor, batch.pixels):
                tensor.record_stream(current)
        return batch

    def close(self) -> None:
        """Release the decoders' memory; they are reopened when needed."""
        with self._lock:
            if self._last is not None:
                self._last.synchronize()
            for decoder in self._decoders.values():
                if not isinstance(decoder, str):
                    decoder.close()
            self._decoders.clear()

    def renew_lock(self) -> None:
        """In the child of a fork, replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _mark(self) -> torch.cuda.Event | None:
        """Record an event after everything queued so far."""
        if self._stream is not None:
            self._last = torch.cuda.Event()
            self._last.record(self._stream)
        return self._last

    def _decode(
        self, outcomes: list[HostResult | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Decode and resample files on the GPU; finish on the CPU those that its decoders reject."""
        files: dict[str, dict[int, OpenedImage]] = {}
        for slot, one in enumerate(outcomes):
            if isinstance(one, OpenedImage) and one.choice.strategy is Strategy.GPU_DECODE:
                files.setdefault(str(one.choice.decoder), {})[slot] = one
        rejected: dict[int, str] = {}
        for name, pending in files.items():
            for chunk in _chunks(pending):
                if self._last is not None:
                    self._last.synchronize()  # the decoder reuses its memory, which may still be read
                start = time.perf_counter()
                results = self._call_decoder(name, list(chunk.values()))
                seconds = (time.perf_counter() - start) / len(chunk)
                decoded: dict[int, tuple[torch.Tensor, ResizePlan]] = {}
                for (slot, one), result in zip(chunk.items(), results, strict=True):
                    if isinstance(result, str):
                        rejected[slot] = result
                        continue
                    outcomes[slot] = replace(one, decode_seconds=one.decode_seconds + seconds)
                    height, width, _ = result.shape
                    full_size = (height, width) == one.plan.stored_hw
                    plan = one.plan if full_size else one.plan.for_decoded_size((height, width))
                    decoded[slot] = result, plan
                self._resample(decoded, pixels, tensor)
                self._mark()
        if not rejected:
            return
        rest = [one for slot in rejected if isinstance(one := outcomes[slot], OpenedImage)]
        for slot, outcome in zip(rejected, self._cpu_fallback(rest, list(rejected.values())), strict=True):
            outcomes[slot] = outcome

    def _call_decoder(self, name: str, images: Sequence[OpenedImage]) -> Sequence[torch.Tensor | str]:
        if name not in self._decoders:
            try:
                self._decoders[name] = self._open_decoder(name)
            except Exception as error:  # an incompatible library or driver may raise anything
                reason = f"{name} is not usable: {error}"
                logger.warning("%s", reason)
                self._decoders[name] = reason
                self._on_unusable(name, reason)
        decoder = self._decoders[name]
        if isinstance(decoder, str):
            return [decoder] * len(images)
        files: list[Buffer] = []
        headers: list[ImageHeader] = []
        for one in images:
            assert one.header is not None
            assert isinstance(one.data, (bytes, bytearray, memoryview))
            files.append(one.data)
            headers.append(one.header)
        try:
            return decoder.decode(files, headers, [one.min_hw for one in images])
        except Exception as error:  # the adapter should return a reason per file; the CPU can still decode them
            reason = error_summary(error, name)
            logger.warning("decoding a batch on the CPU: %s", reason)
            return [reason] * len(images)

    def _resample_frames(
        self, outcomes: Sequence[HostResult | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Resample full-size pixels that were decoded on the CPU, and frames that are already on the device."""
        frames: dict[int, tuple[torch.Tensor, ResizePlan]] = {}
        for slot, one in enumerate(outcomes):
            if not isinstance(one, OpenedImage) or isinstance(one.data, (bytes, bytearray, memoryview)):
                continue
            if isinstance(one.data, torch.Tensor):
                if self._stream is not None and one.data.is_cuda:
                    one.data.record_stream(self._stream)
                    if one.ready is not None:
                        self._stream.wait_event(one.ready)
                frame = one.data.permute(1, 2, 0)
            else:
                frame = _as_tensor(one.data)
            # Blocking: the caller may reuse page-locked memory as soon as this call returns.
            frames[slot] = frame.to(self._device), one.plan
        self._resample(frames, pixels, tensor)

    def _resample(
        self, sources: dict[int, tuple[torch.Tensor, ResizePlan]], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        by_plan: dict[ResizePlan, list[int]] = {}
        for slot, (_, plan) in sources.items():
            by_plan.setdefault(plan, []).append(slot)
        for plan, slots in by_plan.items():
            self._resampler([sources[slot][0] for slot in slots], plan, slots, pixels, tensor)

    def _upload(
        self, outcomes: Sequence[HostResult | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Upload images that the CPU resampled; those of `Strategy.CPU` are also normalised there."""
        small = {slot: one for slot, one in enumerate(outcomes) if isinstance(one, PreparedImage)}
        self._staging.upload([one.pixels for one in small.values()], list(small), pixels)
        if tensor is None:
            return
        on_cpu = {slot: one for slot, one in small.items() if one.choice.strategy is Strategy.CPU}
        for slot, one in on_cpu.items():
            tensor[slot].copy_(torch.from_numpy(normalize(one.pixels, self._levels)))
        on_gpu = [slot for slot in small if slot not in on_cpu]
        if on_gpu:
            self._resampler.normalize(pixels, on_gpu, tensor)


def _chunks(images: dict[int, OpenedImage]) -> Iterator[dict[int, OpenedImage]]:
    """Split images, in order, into chunks whose full-size pixels fit into `_MAX_DECODED_BYTES`."""
    chunk: dict[int, OpenedImage] = {}
    size = 0
    for slot, one in images.items():
        height, width = one.plan.stored_hw
        if chunk and size + 3 * height * width > _MAX_DECODED_BYTES:
            yield chunk
            chunk, size = {}, 0
        chunk[slot] = one
        size += 3 * height * width
    if chunk:
        yield chunk


def _as_tensor(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Return an (H, W, 3) tensor of an (H, W, 3), (H, W, 4) or (H, W) array."""
    # Torch accepts neither negative strides nor read-only arrays.
    tensor = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    return tensor[..., None].expand(-1, -1, 3) if tensor.ndim == 2 else tensor[..., :3]


def _without_data(image: PlannedImage) -> PlannedImage:
    """Drop an image's file and full-size pixels."""
    if not isinstance(image, OpenedImage):
        return image
    return PlannedImage(
        index=image.index,
        label=image.label,
        plan=image.plan,
        choice=image.choice,
        decode_seconds=image.decode_seconds,
        resample_seconds=image.resample_seconds,
        exif=image.exif,
        warnings=image.warnings,
    )
