"""Assemble images of one size into a batch in the GPU's memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.gpu_decoders import GPUDecoders, MemoryShortage
from depth_anything_3.inputs.batch.records import OpenedImage, PlannedImage, PreparedImage
from depth_anything_3.inputs.batch.staging import Staging
from depth_anything_3.inputs.batch.unchecked import UncheckedBatch, UncheckedImages
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.decoder import GPUDecoder, memory_budget
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.resample.gpu import GPUResampler
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.runtime.cuda_events import record_event, wait_for_stream

__all__ = ["GPUAssembler", "HostResult"]

logger = logging.getLogger(__name__)

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
        open_decoder: opens the GPU decoder of a name.
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
        self._cpu_fallback = cpu_fallback
        self._decoders = GPUDecoders(device, open_decoder, on_unusable)
        # Full-size pixels at a time; larger batches are split. A decoder may have two sets of outputs, and the memory
        # of each output fits the largest image that it has held.
        self._max_decoded_bytes = memory_budget(device) // 4
        self._levels = normalized_levels()
        self._staging = Staging(device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._lock = threading.Lock()
        self._frames_written: dict[int, torch.cuda.Event] = {}  # stream of a caller -> its latest event
        self._frames_lock = threading.Lock()

    def __call__(self, images: Sequence[HostResult], normalized: bool) -> ProcessedBatch:
        """Assemble a batch of images of one result size; images that cannot be decoded are recorded as failures."""
        if self._stream is not None and any(_on_gpu(one) for one in images):
            self.note_caller_stream()  # kernels queued by this thread may still be writing the frames
            self._wait_for_frames(self._stream)
        # The caller's autocast, if active, would round the operators to half precision.
        with self._lock, self._on_stream(), torch.autocast(self._device.type, enabled=False):
            shape = (len(images), 3, *images[0].plan.result_hw)
            pixels = torch.empty(shape, dtype=torch.uint8, device=self._device)
            tensor = torch.empty(shape, dtype=self._dtype, device=self._device) if normalized else None
            outcomes: list[HostResult | ImageFailure] = list(images)
            unchecked = self._decode(outcomes, pixels, tensor)
            self._resample_frames(outcomes, pixels, tensor)
            self._upload(
                {slot: one for slot, one in enumerate(outcomes) if isinstance(one, PreparedImage)}, pixels, tensor
            )
            usable = [slot for slot, one in enumerate(outcomes) if not isinstance(one, ImageFailure)]
            if len(usable) < len(outcomes):
                pixels, tensor = pixels[usable], None if tensor is None else tensor[usable]
            return UncheckedBatch(
                tensor=pixels if tensor is None else tensor,
                extrinsics=None,
                intrinsics=None,
                images=tuple(_without_data(one) for one in outcomes if not isinstance(one, ImageFailure)),
                failures=tuple(one for one in outcomes if isinstance(one, ImageFailure)),
                pixels=pixels,
                ready=record_event(self._device),
                unchecked=tuple(unchecked),
                slots={slot: place for place, slot in enumerate(usable)},
            )

    def note_caller_stream(self) -> None:
        """Remember what this thread has queued on its current stream: frames on the GPU may be written there.

        Only batches with such frames wait for it. Others would wait for the network, which mostly runs on that stream.
        """
        if self._stream is None:
            return
        current = torch.cuda.current_stream(self._device)
        event = current.record_event()
        with self._frames_lock:
            self._frames_written[current.cuda_stream] = event

    def hand_over(self, batch: ProcessedBatch) -> ProcessedBatch:
        """Check what the decoders wrote; make the caller's stream wait for the batch, and keep its memory until then.

        Waits for the batch if a decoder's word has to be checked.
        """
        if isinstance(batch, UncheckedBatch):
            batch = self._checked(batch)
        if batch.ready is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(batch.ready)
            for tensor in (batch.tensor, batch.pixels):
                tensor.record_stream(current)
        return batch

    def close(self) -> None:
        """Release the decoders' memory; they are reopened when needed."""
        with self._lock:
            self._finish_queued()
            self._decoders.close()

    def renew_lock(self) -> None:
        """In the child of a fork, replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _wait_for_frames(self, stream: torch.cuda.Stream) -> None:
        with self._frames_lock:
            for event in self._frames_written.values():
                stream.wait_event(event)
            self._frames_written.clear()  # whatever this stream does next comes after them

    def _checked(self, batch: UncheckedBatch) -> ProcessedBatch:
        """Finish on the CPU the images that a decoder reported as decoded but did not write."""
        missing = batch.unwritten()
        if not missing:
            return batch.checked()
        files, reasons = zip(*missing.values(), strict=True)
        logger.warning("decoding %d of %d images on the CPU: %s", len(files), len(batch.images), reasons[0])
        outcomes = self._cpu_fallback(files, reasons)
        finished = dict(zip(missing, outcomes, strict=True))
        failures = tuple(one for one in outcomes if isinstance(one, ImageFailure))
        usable = [place for place in range(len(batch.images)) if not isinstance(finished.get(place), ImageFailure)]
        with self._lock, self._on_stream(), torch.autocast(self._device.type, enabled=False):
            prepared = {place: one for place, one in finished.items() if isinstance(one, PreparedImage)}
            pixels, tensor = batch.pixels, None if batch.tensor is batch.pixels else batch.tensor
            self._upload(prepared, pixels, tensor)
            if failures:
                pixels, tensor = pixels[usable], None if tensor is None else tensor[usable]
            ready = record_event(self._device)
        images = [prepared.get(place, image) for place, image in enumerate(batch.images)]
        return replace(
            batch.checked(),
            tensor=pixels if tensor is None else tensor,
            pixels=pixels,
            images=tuple(images[place] for place in usable),
            failures=batch.failures + failures,
            ready=ready,
        )

    def _finish_queued(self) -> None:
        """Wait for all work that was queued, also by a batch that failed."""
        with self._on_stream():
            wait_for_stream(self._device)

    def _decode(
        self, outcomes: list[HostResult | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> list[UncheckedImages]:
        """Decode and resample files on the GPU; finish on the CPU those that its decoders reject.

        Returns what is still to be checked: decoders may report success for images that they did not write.
        """
        files: dict[str, dict[int, OpenedImage]] = {}
        for slot, one in enumerate(outcomes):
            if isinstance(one, OpenedImage) and one.choice.strategy is Strategy.GPU_DECODE:
                files.setdefault(str(one.choice.decoder), {})[slot] = one
        rejected: dict[int, str] = {}
        unchecked: list[UncheckedImages] = []
        for name, pending in files.items():
            chunks = deque(_chunks(pending, self._max_decoded_bytes))
            retried: set[int] = set()
            while chunks:
                chunk = chunks.popleft()
                short = self._decode_chunk(name, chunk, outcomes, rejected, unchecked, pixels, tensor)
                if not short:
                    continue
                self._finish_queued()
                self._decoders.release(name)
                (slot, reason), *others = short.items()
                if others:
                    chunks.extendleft(reversed(_halves({slot: chunk[slot] for slot in short})))
                elif slot not in retried:
                    retried.add(slot)
                    chunks.appendleft({slot: chunk[slot]})
                else:
                    rejected[slot] = str(reason)
                    self._decoders.rest(name, reason)
        if not rejected:
            return unchecked
        rest = [one for slot in rejected if isinstance(one := outcomes[slot], OpenedImage)]
        for slot, outcome in zip(rejected, self._cpu_fallback(rest, list(rejected.values())), strict=True):
            outcomes[slot] = outcome
        return unchecked

    def _decode_chunk(
        self,
        name: str,
        chunk: dict[int, OpenedImage],
        outcomes: list[HostResult | ImageFailure],
        rejected: dict[int, str],
        unchecked: list[UncheckedImages],
        pixels: torch.Tensor,
        tensor: torch.Tensor | None,
    ) -> dict[int, MemoryShortage]:
        """Decode and resample files in one call; return those that memory ran out for.

        Adds those that are rejected, and what is still to be checked.
        """
        start = time.perf_counter()
        results = self._decoders.decode(name, list(chunk.values()))
        seconds = (time.perf_counter() - start) / len(chunk)
        decoded: dict[int, tuple[torch.Tensor, ResizePlan]] = {}
        short: dict[int, MemoryShortage] = {}
        for (slot, one), result in zip(chunk.items(), results, strict=True):
            if isinstance(result, MemoryShortage):
                short[slot] = result
                continue
            if isinstance(result, str):
                rejected[slot] = result
                continue
            outcomes[slot] = replace(one, decode_seconds=one.decode_seconds + seconds)
            height, width, _ = result.shape
            full_size = (height, width) == one.plan.stored_hw
            plan = one.plan if full_size else one.plan.for_decoded_size((height, width))
            decoded[slot] = result, plan
        guard = self._decoders.guard(name)
        if guard is not None and decoded:
            samples = guard.sample([image for image, _ in decoded.values()])
            unchecked.append(UncheckedImages(name, {slot: chunk[slot] for slot in decoded}, samples))
        self._resample(decoded, pixels, tensor)
        return short

    def _resample_frames(
        self, outcomes: Sequence[HostResult | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Resample full-size pixels that were decoded on the CPU, and frames that are already on the device."""
        frames = {
            slot: one
            for slot, one in enumerate(outcomes)
            if isinstance(one, OpenedImage) and not isinstance(one.data, (bytes, bytearray, memoryview))
        }
        for chunk in _chunks(frames, self._max_decoded_bytes):
            self._resample({slot: (self._frame(one), one.plan) for slot, one in chunk.items()}, pixels, tensor)

    def _frame(self, image: OpenedImage) -> torch.Tensor:
        """Return the (H, W, 3) pixels of a frame, or of an image that the CPU decoded, on the device."""
        if isinstance(image.data, torch.Tensor):
            if self._stream is not None and image.data.is_cuda:
                image.data.record_stream(self._stream)
                if image.ready is not None:
                    self._stream.wait_event(image.ready)
            frame = image.data.permute(1, 2, 0)
        else:
            assert isinstance(image.data, np.ndarray)
            frame = _as_tensor(image.data)
        # Blocking: the caller may reuse page-locked memory as soon as this call returns.
        return frame.to(self._device)

    def _resample(
        self, sources: dict[int, tuple[torch.Tensor, ResizePlan]], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        by_plan: dict[ResizePlan, list[int]] = {}
        for slot, (_, plan) in sources.items():
            by_plan.setdefault(plan, []).append(slot)
        for plan, slots in by_plan.items():
            self._resampler([sources[slot][0] for slot in slots], plan, slots, pixels, tensor)

    def _upload(self, small: Mapping[int, PreparedImage], pixels: torch.Tensor, tensor: torch.Tensor | None) -> None:
        """Upload images that the CPU resampled, by slot; those of `Strategy.CPU` are also normalised there."""
        self._staging.upload([one.pixels for one in small.values()], list(small), pixels)
        if tensor is None:
            return
        on_cpu = {slot: one for slot, one in small.items() if one.choice.strategy is Strategy.CPU}
        for slot, one in on_cpu.items():
            tensor[slot].copy_(torch.from_numpy(normalize(one.pixels, self._levels)))
        on_gpu = [slot for slot in small if slot not in on_cpu]
        if on_gpu:
            self._resampler.normalize(pixels, on_gpu, tensor)


def _on_gpu(image: HostResult) -> bool:
    """Whether an image is a frame on the GPU that the caller's stream may still be writing."""
    if not isinstance(image, OpenedImage) or image.ready is not None:
        return False
    return isinstance(image.data, torch.Tensor) and image.data.is_cuda


def _chunks(images: dict[int, OpenedImage], max_bytes: int) -> Iterator[dict[int, OpenedImage]]:
    """Split images, in order, into chunks whose full-size pixels fit into `max_bytes`."""
    chunk: dict[int, OpenedImage] = {}
    size = 0
    for slot, one in images.items():
        height, width = one.plan.stored_hw
        if chunk and size + 3 * height * width > max_bytes:
            yield chunk
            chunk, size = {}, 0
        chunk[slot] = one
        size += 3 * height * width
    if chunk:
        yield chunk


def _halves(images: dict[int, OpenedImage]) -> list[dict[int, OpenedImage]]:
    slots = list(images)
    middle = len(slots) // 2
    return [{slot: images[slot] for slot in part} for part in (slots[:middle], slots[middle:])]


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
