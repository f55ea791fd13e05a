"""Images of one size in, opened or prepared; one batch in the GPU's memory out, decoded and resampled there."""

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
from depth_anything_3.inputs.decode.gpu.batch_fallback import reason_of
from depth_anything_3.inputs.decode.gpu.decoder import DeviceDecoder
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.resample.gpu import DeviceResampler
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels

__all__ = ["Arrival", "DeviceAssembler"]

logger = logging.getLogger(__name__)

_DECODED_AT_A_TIME = 2**31
"""Bytes of full-size pixels that one decode call may produce; larger batches take several."""

Arrival = PreparedImage | OpenedImage
"""An image that the CPU has done its part of."""

OnCpu = Callable[[Sequence[OpenedImage], Sequence[str]], Sequence[PreparedImage | ImageFailure]]
"""Finishes on the CPU what a GPU decoder refused, for these reasons."""


class DeviceAssembler:
    """Makes batches on a stream of its own, one at a time; may be called from any thread.

    Args:
        device: where the network is.
        dtype: of normalised values: float32, bfloat16 or float16.
        resampler: works on that device.
        open_decoder: gives the GPU decoder of a name; called once for each.
        on_cpu: finishes what a GPU decoder refuses.
        on_unusable: told of a decoder that cannot be opened, and why.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        resampler: DeviceResampler,
        open_decoder: Callable[[str], DeviceDecoder],
        on_cpu: OnCpu,
        on_unusable: Callable[[str, str], None],
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._resampler = resampler
        self._open_decoder = open_decoder
        self._on_cpu = on_cpu
        self._on_unusable = on_unusable
        self._decoders: dict[str, DeviceDecoder | str] = {}
        self._levels = normalized_levels()
        self._staging = Staging(device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._last: torch.cuda.Event | None = None
        self._lock = threading.Lock()

    def __call__(self, images: Sequence[Arrival], normalized: bool) -> ProcessedBatch:
        """Make a batch of images whose results have one size; images that turn out to be broken are left out."""
        self.follow_caller()  # frames may still be written by what this thread has queued
        # Autocast, if the caller is in it, would round the operators to half precision.
        with self._lock, self._on_stream(), torch.autocast(self._device.type, enabled=False):
            shape = (len(images), 3, *images[0].plan.result_hw)
            pixels = torch.empty(shape, dtype=torch.uint8, device=self._device)
            tensor = torch.empty(shape, dtype=self._dtype, device=self._device) if normalized else None
            outcomes: list[Arrival | ImageFailure] = list(images)
            self._decode(outcomes, pixels, tensor)
            self._resample_frames(outcomes, pixels, tensor)
            self._upload(outcomes, pixels, tensor)
            kept = [place for place, one in enumerate(outcomes) if not isinstance(one, ImageFailure)]
            if len(kept) < len(outcomes):
                pixels, tensor = pixels[kept], None if tensor is None else tensor[kept]
            batch = ProcessedBatch(
                tensor=pixels if tensor is None else tensor,
                extrinsics=None,
                intrinsics=None,
                images=tuple(_record(one) for one in outcomes if not isinstance(one, ImageFailure)),
                failures=tuple(one for one in outcomes if isinstance(one, ImageFailure)),
                pixels=pixels,
            )
            return replace(batch, ready=self._mark())

    def follow_caller(self) -> None:
        """Let what is queued from now on wait for what the current stream of this thread was given."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def receive(self, batch: ProcessedBatch) -> ProcessedBatch:
        """Let the caller's stream wait until the batch is made, and its memory live until that stream is done."""
        if batch.ready is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(batch.ready)
            for tensor in (batch.tensor, batch.pixels):
                tensor.record_stream(current)
        return batch

    def close(self) -> None:
        """Give the decoders' memory back; they are opened again when needed."""
        with self._lock:
            if self._last is not None:
                self._last.synchronize()
            for decoder in self._decoders.values():
                if not isinstance(decoder, str):
                    decoder.close()
            self._decoders.clear()

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _mark(self) -> torch.cuda.Event | None:
        """An event that passes when everything queued so far is done."""
        if self._stream is not None:
            self._last = torch.cuda.Event()
            self._last.record(self._stream)
        return self._last

    def _decode(
        self, outcomes: list[Arrival | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Decode and resample what is to be decoded on the GPU; what is refused there is finished on the CPU."""
        files: dict[str, dict[int, OpenedImage]] = {}
        for place, one in enumerate(outcomes):
            if isinstance(one, OpenedImage) and one.choice.strategy is Strategy.GPU_DECODE:
                files.setdefault(str(one.choice.decoder), {})[place] = one
        refused: dict[int, str] = {}
        for name, waiting in files.items():
            for chunk in _chunks(waiting):
                if self._last is not None:
                    self._last.synchronize()  # a decoder uses its memory again, which may still be read from
                began = time.perf_counter()
                results = self._call_decoder(name, list(chunk.values()))
                seconds = (time.perf_counter() - began) / len(chunk)
                pictures: dict[int, tuple[torch.Tensor, ResizePlan]] = {}
                for (place, one), result in zip(chunk.items(), results, strict=True):
                    if isinstance(result, str):
                        refused[place] = result
                        continue
                    outcomes[place] = replace(one, decode_seconds=one.decode_seconds + seconds)
                    height, width, _ = result.shape
                    whole = (height, width) == one.plan.stored_hw
                    pictures[place] = result, one.plan if whole else one.plan.from_reduced((height, width))
                self._resample(pictures, pixels, tensor)
                self._mark()
        if not refused:
            return
        rest = [one for place in refused if isinstance(one := outcomes[place], OpenedImage)]
        for place, outcome in zip(refused, self._on_cpu(rest, list(refused.values())), strict=True):
            outcomes[place] = outcome

    def _call_decoder(self, name: str, images: Sequence[OpenedImage]) -> Sequence[torch.Tensor | str]:
        if name not in self._decoders:
            try:
                self._decoders[name] = self._open_decoder(name)
            except Exception as error:  # whatever a library or driver that does not fit raises
                reason = f"{name} cannot be used: {error}"
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
            return decoder.decode(files, headers, [one.least_hw for one in images])
        except Exception as error:  # its adapter should give a reason for each file; the CPU can still decode them
            reason = reason_of(error, name)
            logger.warning("a batch goes to the CPU: %s", reason)
            return [reason] * len(images)

    def _resample_frames(
        self, outcomes: Sequence[Arrival | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Full-size pixels that were decoded on the CPU, or are frames on the device already."""
        frames: dict[int, tuple[torch.Tensor, ResizePlan]] = {}
        for place, one in enumerate(outcomes):
            if not isinstance(one, OpenedImage) or isinstance(one.data, (bytes, bytearray, memoryview)):
                continue
            if isinstance(one.data, torch.Tensor):
                if self._stream is not None and one.data.is_cuda:
                    one.data.record_stream(self._stream)
                frame = one.data.permute(1, 2, 0)
            else:
                frame = _as_tensor(one.data)
            # Blocking: the caller may fill page-locked memory of his own again when he has his result.
            frames[place] = frame.to(self._device), one.plan
        self._resample(frames, pixels, tensor)

    def _resample(
        self, pictures: dict[int, tuple[torch.Tensor, ResizePlan]], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        by_plan: dict[ResizePlan, list[int]] = {}
        for place, (_, plan) in pictures.items():
            by_plan.setdefault(plan, []).append(place)
        for plan, places in by_plan.items():
            self._resampler([pictures[place][0] for place in places], plan, places, pixels, tensor)

    def _upload(
        self, outcomes: Sequence[Arrival | ImageFailure], pixels: torch.Tensor, tensor: torch.Tensor | None
    ) -> None:
        """Small pictures that the CPU has resampled; those of `Strategy.CPU` are normalised there as well."""
        small = {place: one for place, one in enumerate(outcomes) if isinstance(one, PreparedImage)}
        self._staging.upload([one.pixels for one in small.values()], list(small), pixels)
        if tensor is None:
            return
        on_cpu = {place: one for place, one in small.items() if one.choice.strategy is Strategy.CPU}
        for place, one in on_cpu.items():
            tensor[place].copy_(torch.from_numpy(normalize(one.pixels, self._levels)))
        here = [place for place in small if place not in on_cpu]
        if here:
            self._resampler.normalize(pixels, here, tensor)


def _chunks(images: dict[int, OpenedImage]) -> Iterator[dict[int, OpenedImage]]:
    """The same images in the same order, in parts whose full-size pixels fit into `_DECODED_AT_A_TIME`."""
    chunk: dict[int, OpenedImage] = {}
    size = 0
    for place, one in images.items():
        height, width = one.plan.stored_hw
        if chunk and size + 3 * height * width > _DECODED_AT_A_TIME:
            yield chunk
            chunk, size = {}, 0
        chunk[place] = one
        size += 3 * height * width
    if chunk:
        yield chunk


def _as_tensor(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) view of an array of HxWx3, HxWx4 or HxW."""
    # Torch takes neither reversed channels nor arrays that must not be written to.
    tensor = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
    return tensor[..., None].expand(-1, -1, 3) if tensor.ndim == 2 else tensor[..., :3]


def _record(image: PlannedImage) -> PlannedImage:
    """What is kept of an image: not its file, nor its full-size pixels."""
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
    )
