"""`Engine`: a network with its input processor and threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inference.backends.backend import Backend
from depth_anything_3.inference.backends.torch_backend import TorchBackend
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inference.batch_store import BatchStore
from depth_anything_3.inference.given_processor import GivenProcessor
from depth_anything_3.inference.options import NetworkOptions, StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inference.runner import NetworkRunner
from depth_anything_3.inference.source_images import stream_at_input_size
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.devices import default_dtype
from depth_anything_3.runtime.prefetch import in_background
from depth_anything_3.runtime.threads import ThreadPool
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from depth_anything_3.utils.io.output_processor import OutputProcessor

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class Engine:
    """Computes predictions with one network, on the device of its weights, or behind another backend.

    `DepthAnything3`, videos, live streams and the jobs share this class. It owns the input processor, whose workers and
    decoders are reused, and the threads that the network runs in.

    Args:
        network: maps (B, N, 3, H, W) to the input of `OutputProcessor`.
        card: catalog entry of its model.

    Attributes:
        compute_dtype: dtype of the backbone's computation; None selects the device's default.
        weights_dtype: low-precision dtype to which the caller converted the model, which takes the place of
            `compute_dtype`, because weights keep their float32 values; else None.
        other_backend: what computes in place of torch; None: torch.
        output_processor: builds predictions from the network's output.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        self.network = network
        self.card = card
        self.compute_dtype: torch.dtype | None = None
        self.weights_dtype: torch.dtype | None = None
        self.other_backend: Backend | None = None
        self.output_processor = OutputProcessor()
        self._input_processor: InputProcessor | GPUInputProcessor | None = None
        self._given_processor: InputProcessor | GPUInputProcessor | GivenProcessor | None = None
        self._threads = ThreadPool()
        self._has_warned = False  # that it is a demonstration

    @property
    def backend(self) -> Backend:
        """What computes the network."""
        return self.other_backend or self.torch_backend()

    def torch_backend(self) -> TorchBackend:
        """Return the network behind torch."""
        return TorchBackend(self.network, self.dtype_on(next(self.network.parameters()).device))

    @property
    def device(self) -> torch.device:
        """The device that the network computes on; of torch, that of the weights."""
        return self.backend.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the backbone's computation."""
        return self.backend.dtype

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """Return the dtype of the backbone's computation on a device."""
        return self.weights_dtype or self.compute_dtype or default_dtype(device)

    @property
    def input_processor(self) -> InputProcessor | GPUInputProcessor | GivenProcessor:
        """The processor that prepares images, by default on the network's device; None restores the default."""
        if self._given_processor is not None:
            return self._given_processor
        device, dtype = self.device, self.dtype
        current = self._input_processor
        if device.type == "cpu":
            if not isinstance(current, InputProcessor):
                self._input_processor = current = InputProcessor()
        elif not isinstance(current, GPUInputProcessor) or (current.device, current.dtype) != (device, dtype):
            self._input_processor = current = GPUInputProcessor(device, dtype=dtype)
        return current

    @input_processor.setter
    def input_processor(self, given: Callable[..., Any] | None) -> None:  # Any: see `GivenProcessor`
        if given is None or isinstance(given, (InputProcessor, GPUInputProcessor)):
            self._given_processor = given
        else:
            self._given_processor = GivenProcessor(given)

    def views(
        self,
        batch: ProcessedBatch,
        options: NetworkOptions,
        extrinsics: torch.Tensor | None = None,
        intrinsics: torch.Tensor | None = None,
    ) -> Prediction:
        """Compute one prediction for a batch whose images are the views of one scene; see `NetworkRunner.views`."""
        runner = self._runner(options, views=len(batch.images))
        return runner.views(batch, options, extrinsics, intrinsics)

    def stream(
        self,
        images: Iterable[ImageInput],
        options: StreamOptions,
        on_failure: Callable[[ImageFailure], None],
        *,
        ready: int = 0,
    ) -> Iterator[Prediction]:
        """Compute a prediction (N = 1) for each independent image, in order.

        Images are decoded ahead while the network computes, and grouped by size without cropping.

        Args:
            images: any iterable of images, consumed a few batches ahead in another thread.
            options: preprocessing, network, batching and size of results.
            on_failure: called for each image that cannot be used, at its place in the order.
            ready: number of images that can be read without waiting for them, as files can; 0 if that is unknown. On a
                CPU, `batch_size="auto"` then computes them one by one, so that none waits for a batch to fill up.

        Raises:
            InvalidInputError: the network does not support an option; raised before anything is read.
        """
        self.check_output(options.output)
        if options.output.at_input_size:
            at_network_size = replace(options, output=OutputOptions())
            return stream_at_input_size(
                lambda noted, failed: self.stream(noted, at_network_size, failed, ready=ready),
                *(images, options.output, options.preprocess, on_failure),
            )
        measures = ready > 1 and self.device.type == "cpu" and options.batching.batch_size == "auto"
        computes = self.backend.name_for(options.network) if measures else ""
        store = BatchStore(self.card.name, self.dtype, backend=computes) if measures else None
        limit = BatchLimit(options.batching, self.device, store, ready)
        batches = self.input_processor.batches(
            images,
            self.resolved(options.preprocess),
            batch_size=limit.expected,
            limit=limit,
            on_shortage=limit.fail,
        )
        return self.compute(batches, limit, on_failure, options.network)

    def compute(
        self,
        batches: Generator[ProcessedBatch | ImageFailure, None, None],
        limit: BatchLimit,
        on_failure: Callable[[ImageFailure], None],
        options: NetworkOptions,
    ) -> Iterator[Prediction]:
        """Compute a prediction for each image of prepared batches; see `NetworkRunner.stream`.

        The server uses it, whose images arrive one by one: a batch is computed as soon as it is there.
        """
        self.check(options)
        return self._runner(options).stream(batches, limit, on_failure, options)

    def resolved(self, preprocess: PreprocessOptions) -> PreprocessOptions:
        """Return the options with a `process_res`: the given one, else the best one of the model."""
        return preprocess.for_model(self.backend.process_res or self.card.best_process_res)

    def check(self, options: NetworkOptions, *, has_poses: bool = False) -> None:
        """Check that the network supports the options, before anything is computed; log those without effect.

        Raises:
            InvalidInputError: a layer does not exist.
            UnsupportedError: the model does not predict cameras, or Gaussians; the backend lacks an option.
        """
        self.backend.check(options, has_poses=has_poses)
        if options.use_ray_pose and not self.card.has_poses:
            logger.warning("use_ray_pose=True has no effect with %s, which predicts no cameras", self.card.name)

    def check_output(self, output: OutputOptions) -> None:
        """Check that results can have the size asked for.

        Raises:
            UnsupportedError: the caller's own processor prepares images, which does not report their size.
        """
        if output.at_input_size and isinstance(self.input_processor, GivenProcessor):
            raise UnsupportedError(
                "output_size='input' needs the size of the source images, which an input_processor of your own does "
                "not report; use output_size='network'"
            )

    def in_background(self, items: Generator[Item, None, None], *, ahead: int) -> Generator[Item, None, None]:
        """Run a generator that uses the network in a background thread, if the device allows it."""
        if self.device.type == "mps":  # two threads that use Apple's GPU at once can abort the process
            return items
        return in_background(items, ahead=ahead, threads=self._threads)

    def _runner(self, options: NetworkOptions, *, views: int = 1) -> NetworkRunner:
        if self.card.is_demonstration and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s is a demonstration: a small network, trained on rendered scenes only; for real use, pass "
                "pretrained_model_name_or_path='da3-small'",
                self.card.name,
            )
        backend = self.backend
        backend.prepare(options, views=views)
        return NetworkRunner(
            backend,
            self.output_processor,
            self.card,
            self._threads,
            lambda: self.input_processor.release_memory(),
        )
