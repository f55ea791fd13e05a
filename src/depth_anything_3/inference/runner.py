"""Run the network on batches and build predictions, overlapped with the caller's work."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inference.backends.backend import Backend
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.bucketing import ReorderBuffer
from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.failure import ImageFailure, memory_failure
from depth_anything_3.inputs.plan.resize_plan import Crop, ResizePlan, center_crop
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.cuda_events import record_event
from depth_anything_3.runtime.device_errors import error_reason, out_of_memory, translate_device_errors
from depth_anything_3.runtime.prefetch import in_background
from depth_anything_3.runtime.threads import ThreadPool
from depth_anything_3.utils.io.output_processor import OutputProcessor, SceneInput

__all__ = ["NetworkRunner"]

Outputs = Mapping[str, Any]  # Any: tensors, and mappings of tensors
Forward = Mapping[str, Any]  # Any: the keyword arguments of the network's forward


@dataclass(frozen=True, eq=False)
class _Computed:
    """Network output of a batch; on CUDA the copy to the host may still be in progress.

    Attributes:
        images: images of each scene.
        outputs, pixels: network output, and (N, 3, H, W) uint8; both in host memory once `finished` has passed.
        finished: event to wait for; None if there is none.
        seconds: returns the network's time; call it after `finished` has passed.
    """

    images: list[tuple[PlannedImage, ...]]
    outputs: Outputs
    pixels: torch.Tensor
    finished: torch.cuda.Event | None
    seconds: Callable[[], float]


class NetworkRunner:
    """Runs a network on batches and builds predictions from its output.

    Args:
        backend: computes the network.
        output_processor: builds predictions.
        card: catalog entry of the model.
        threads: pool of the thread that the network runs in, reused between runs.
        release_memory: gives back memory of the device that is held only to be reused.
    """

    def __init__(
        self,
        backend: Backend,
        output_processor: OutputProcessor,
        card: ModelCard,
        threads: ThreadPool,
        release_memory: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._card = card
        self._output_processor = output_processor
        self._device = backend.device
        self._threads = threads
        self._release_memory = release_memory

    def views(
        self,
        batch: ProcessedBatch,
        options: NetworkOptions,
        extrinsics: torch.Tensor | None = None,
        intrinsics: torch.Tensor | None = None,
    ) -> Prediction:
        """Compute one prediction for a batch whose images are the views of one scene.

        Args:
            batch: the views.
            options: options of the network.
            extrinsics, intrinsics: (1, N, 4, 4) and (1, N, 3, 3) float32, given cameras to condition on.
        """
        forward: Forward = {**options.forward(), "extrinsics": extrinsics, "intrinsics": intrinsics}
        with self._callers_stream(), translate_device_errors(self._device):
            computed = self._attempt(batch, [batch.images], 0, forward)
            if isinstance(computed, str):  # memory ran out
                self._release_memory()
                computed = self._launch(batch, [batch.images], 0, forward)
            return self._finish(
                computed,
                failures=batch.failures,
                windows=batch.windows,
                intrinsics=None if batch.intrinsics is None else batch.intrinsics.numpy(),
            )[0]

    def stream(
        self,
        batches: Generator[ProcessedBatch | ImageFailure, None, None],
        limit: BatchLimit,
        on_failure: Callable[[ImageFailure], None],
        options: NetworkOptions,
    ) -> Iterator[Prediction]:
        """Compute a prediction for each image of batches of independent images, in the images' order.

        The network runs in a background thread, at most two batches ahead of the caller.

        Args:
            batches: generator; must not be consumed elsewhere. Closed at the end.
            limit: maximum batch size; updated with measured memory use.
            on_failure: called for images that cannot be used, at their place in the order.
            options: options of the network.
        """
        # Failures are ordered too, so that earlier images that wait for a batch come before them.
        in_order: ReorderBuffer[Prediction | ImageFailure] = ReorderBuffer()
        computed = self._compute(batches, limit, options.forward(), self._callers_stream())
        if self._device.type != "mps":  # two threads that use Apple's GPU at once can abort the process
            computed = in_background(computed, ahead=1, threads=self._threads)
        with translate_device_errors(self._device), closing(computed):  # after an error the thread must stop
            for item in computed:
                results: list[tuple[int, Prediction | ImageFailure]]
                if isinstance(item, ImageFailure):
                    results = [(item.index, item)]
                else:
                    places = [images[0].index for images in item.images]
                    results = list(zip(places, self._finish_smaller(item), strict=True))
                for index, result in results:
                    for ready in in_order.put(index, result):
                        if isinstance(ready, ImageFailure):
                            on_failure(ready)
                        else:
                            yield ready

    def _compute(
        self,
        batches: Generator[ProcessedBatch | ImageFailure, None, None],
        limit: BatchLimit,
        options: Forward,
        stream: AbstractContextManager[Any],
    ) -> Generator[_Computed | ImageFailure, None, None]:
        with closing(batches), stream:
            for batch in batches:
                if isinstance(batch, ImageFailure):
                    yield batch
                    continue
                yield from batch.failures
                if batch.images:
                    yield from self._within_memory(batch, limit, options)

    def _within_memory(
        self, batch: ProcessedBatch, limit: BatchLimit, options: Forward
    ) -> Iterator[_Computed | ImageFailure]:
        """Yield one result for a batch of independent images, or several if it is split because memory runs out."""
        count, size = len(batch.images), (batch.tensor.shape[2], batch.tensor.shape[3])
        scenes: list[tuple[PlannedImage, ...]] = [(one,) for one in batch.images]
        with limit.measured(size, count):
            computed = self._attempt(batch, scenes, 1, options)
        if isinstance(computed, str):
            limit.fail(size, count)
            self._release_memory()
            if count > 1:
                for half in (batch.part(0, count // 2), batch.part(count // 2, count)):
                    yield from self._within_memory(half, limit, options)
                return
            computed = self._attempt(batch, scenes, 1, options)
        if isinstance(computed, str):
            (image,) = batch.images
            yield memory_failure(image.index, image.label, size, self._device, computed)
        else:
            if self._device.type == "cpu":
                limit.timed(size, count, computed.seconds())
            yield computed

    def _attempt(
        self, batch: ProcessedBatch, images: list[tuple[PlannedImage, ...]], axis: int, options: Forward
    ) -> _Computed | str:
        """Run the network, or return the reason if memory runs out."""
        try:
            return self._launch(batch, images, axis, options)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return error_reason(error)  # without the error, which keeps the network's tensors alive

    @torch.inference_mode()
    def _launch(
        self,
        batch: ProcessedBatch,
        images: list[tuple[PlannedImage, ...]],
        axis: int,
        options: Forward,
    ) -> _Computed:
        """Run the network, on CUDA asynchronously. `axis` is where a dimension is added to form (B, S)."""
        moved = {
            name: value.to(self._device) if isinstance(value, torch.Tensor) else value
            for name, value in options.items()
        }
        x = batch.tensor.to(self._device).unsqueeze(axis)  # already there, unless the caller replaced the processor
        if self._device.type != "cuda":
            began = time.perf_counter()
            outputs = _on_host(self._backend(x, **moved))
            seconds = time.perf_counter() - began
            return _Computed(images, outputs, batch.pixels.cpu(), None, lambda: seconds)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        computed = self._backend(x, **moved)
        end.record()
        outputs, pixels = _on_host(computed), _pinned(batch.pixels)
        finished = record_event(self._device)
        return _Computed(images, outputs, pixels, finished, lambda: 1e-3 * start.elapsed_time(end))

    def _finish(
        self,
        computed: _Computed,
        *,
        failures: tuple[ImageFailure, ...] = (),
        windows: tuple[Crop, ...] = (),
        intrinsics: npt.NDArray[np.float32] | None = None,
    ) -> list[Prediction]:
        """Wait for the device and build a prediction for each scene."""
        outputs, pixels = computed.outputs, computed.pixels
        if computed.finished is not None:
            computed.finished.synchronize()
            outputs, pixels = _pageable(outputs), pixels.clone()
        seconds = computed.seconds() / len(computed.images)
        arrays = iter(pixels.numpy())
        size = pixels.shape[-2], pixels.shape[-1]
        scenes = [
            SceneInput(
                processed_images=np.stack([_interleaved(next(arrays)) for _ in images]),
                sources=tuple(one.label for one in images),
                source_hw=tuple(one.plan.source_hw for one in images),
                source_scale=tuple(_scale(one.plan) for one in images),
                source_offset=tuple(_offset(one.plan, size, window) for one, window in zip_longest(images, windows)),
                exif=tuple(one.exif for one in images),
                model_name=self._card.name,
                model_depth_kind=self._card.depth_kind,
                choices=tuple(one.choice for one in images),
                failures=failures,
                warnings=tuple(text for one in images for text in one.warnings),
                seconds={
                    "decode": sum(one.decode_seconds for one in images),
                    "resample": sum(one.resample_seconds for one in images),
                    "network": seconds,
                },
                intrinsics=intrinsics,
                windows=windows,
            )
            for images in computed.images
        ]
        return self._output_processor.scenes(outputs, scenes)

    def _finish_smaller(self, computed: _Computed) -> list[Prediction | ImageFailure]:
        """Like `_finish` for independent images; one by one if host memory runs out, of which some may fail."""
        try:
            return [*self._finish(computed)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = error_reason(error)
        if len(computed.images) > 1:
            return [one for scene in _scenes(computed) for one in self._finish_smaller(scene)]
        (image,) = computed.images[0]
        return [memory_failure(image.index, image.label, image.plan.result_hw, torch.device("cpu"), reason)]

    def _callers_stream(self) -> AbstractContextManager[Any]:  # Any: torch's own context or none
        """Return a context that selects the caller's CUDA stream on the network's GPU, for use in any thread.

        It also makes that GPU the current one, on which events are recorded by default.
        """
        if self._device.type != "cuda":
            return nullcontext()
        return torch.cuda.stream(torch.cuda.current_stream(self._device))


def _scenes(computed: _Computed) -> Iterator[_Computed]:
    """Split the network's output into single scenes, of one view each."""
    count = len(computed.images)

    def part(value: Any, index: int) -> Any:
        if isinstance(value, Mapping):
            return {name: part(one, index) for name, one in value.items()}
        if isinstance(value, Gaussians):
            return value.scene(index)
        return value[index : index + 1] if isinstance(value, torch.Tensor) else value

    for index, images in enumerate(computed.images):
        pixels = computed.pixels[index : index + 1]
        outputs = part(computed.outputs, index)
        yield replace(
            computed, images=[images], outputs=outputs, pixels=pixels, seconds=lambda: computed.seconds() / count
        )


def _on_host(outputs: Outputs) -> dict[str, Any]:
    """Copy all tensors to host memory, asynchronously from CUDA; other values stay as they are."""
    return _map_tensors(outputs, lambda tensor: _pinned(tensor) if tensor.is_cuda else tensor.cpu())


def _pageable(outputs: Outputs) -> dict[str, Any]:
    """Copy to pageable memory: pinned memory is scarce, and a caller may store a million predictions."""
    return _map_tensors(outputs, torch.Tensor.clone)


def _map_tensors(outputs: Outputs, work: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _map_tensors(value, work)
        return work(value) if isinstance(value, torch.Tensor) else value

    return {name: one(value) for name, value in outputs.items()}


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """Copy to pinned memory on the current stream, without blocking the caller; without such memory, to other."""
    try:
        host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    except RuntimeError as error:  # containers and the system limit pinned memory
        if not out_of_memory(error):
            raise
        return tensor.cpu()
    return host.copy_(tensor, non_blocking=True)


def _scale(plan: ResizePlan) -> tuple[float, float]:
    """Return the (row, column) scale from pixels of the upright source image to pixels of the result."""
    matrix = plan.transform_intrinsics(np.eye(3))
    return float(matrix[1, 1]), float(matrix[0, 0])


def _offset(plan: ResizePlan, size: tuple[int, int], window: Crop | None) -> tuple[int, int]:
    """Return the (row, column) of the source's corner in a result of this size, at `window` of which it was padded."""
    crop = plan.crop or Crop(0, 0, *plan.result_hw)
    inside = center_crop(plan.result_hw, size) if window is None else window
    sign = -1 if window is None else 1
    return sign * inside.top - crop.top, sign * inside.left - crop.left


def _interleaved(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert (3, H, W) to (H, W, 3); OpenCV is thirty times faster than a transposed copy."""
    return np.asarray(cv2.merge(list(planes)), np.uint8)
