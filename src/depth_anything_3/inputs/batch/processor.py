"""Prepare images in worker pools and assemble batches: the base of the CPU and GPU input processors."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import numpy as np
import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.batch_memory import SlotOf
from depth_anything_3.inputs.batch.bucketing import bucket_by_size
from depth_anything_3.inputs.batch.cameras import parse_extrinsics, parse_intrinsics
from depth_anything_3.inputs.batch.mixed_sizes import crop_or_pad, transform_intrinsics
from depth_anything_3.inputs.batch.preparer import ImagePreparer, ScratchBuffer
from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.batch.workers import WorkerPools
from depth_anything_3.inputs.choices import Executor, OnError, ProcessResMethod, ProcessResMethodName
from depth_anything_3.inputs.failure import ImageFailure, log_warnings, memory_failure, raise_failure
from depth_anything_3.inputs.given_images import ImagesInput, expand_images, read_open_files
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES, PATCH_SIZE
from depth_anything_3.inputs.options import PreprocessOptions, ProcessorKwargs, ViewKwargs, check_names
from depth_anything_3.inputs.pil_image import decoded_here
from depth_anything_3.inputs.resample.cpu import Share
from depth_anything_3.inputs.routing.strategy import Request
from depth_anything_3.runtime.device_errors import error_reason, out_of_memory, translate_device_errors
from depth_anything_3.runtime.devices import empty_cache
from depth_anything_3.runtime.prefetch import in_background
from depth_anything_3.runtime.threads import ThreadPool

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BatchProcessor"]

logger = logging.getLogger(__name__)

_MAX_PREPARERS = 8
_MAX_FAILURES_LISTED = 10
_LOOKAHEAD_BATCHES = 4
_LITTLE = 300_000  # source and result samples

_DEFAULTS = PreprocessOptions()

Image = TypeVar("Image", bound=PlannedImage)
Processor = TypeVar("Processor", bound="BatchProcessor[Any]")  # Any: whatever its images are


class BatchProcessor(ABC, Generic[Image]):
    """Read, decode, resample and normalise images.

    The stages are `_worker` (one image, on the CPU), `_assemble` (images of one size to a batch) and `_deliver`. Their
    worker pools and threads are reused between calls, until `close()`. The child of a fork starts its own.
    """

    def __init__(self) -> None:
        self._warned_of_progress = False
        self._pools = WorkerPools()
        self._threads = ThreadPool()
        self._process = os.getpid()
        self._preparer = _new_preparers()

    @abstractmethod
    def _worker(
        self, options: PreprocessOptions, request: Request, slot_of: SlotOf | None = None, share: Share | None = None
    ) -> Callable[[int, ImageInput], Image]:
        """Return the per-image work; raise for a request that this machine does not support.

        Args:
            options: preprocessing options.
            request: what routing depends on.
            slot_of, share: see `ImagePreparer.finish`.
        """

    @abstractmethod
    def _assemble(self, images: Sequence[Image], normalized: bool) -> ProcessedBatch:
        """Assemble images of one size into a batch without cameras."""

    device = torch.device("cpu")
    """Device of the batches."""

    _assembles_in_background = True
    """Whether batches may be assembled outside the network's thread."""

    def _enter(self) -> AbstractContextManager[Any]:  # Any: the context's value is not used
        """Run in the caller's thread when a call begins; return a context for the thread that does the work."""
        return nullcontext()

    def _deliver(self, batch: ProcessedBatch) -> ProcessedBatch:
        """Return the batch once the caller may use it; another thread or the GPU may still be writing it."""
        return batch

    def _renew_after_fork(self) -> None:
        """In the child of a fork, replace objects whose locks a thread of the parent may have held."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._preparer = _new_preparers()

    def __call__(
        self,
        image: ImagesInput,
        extrinsics: Any = None,  # Any: whatever numpy converts to an array
        intrinsics: Any = None,
        process_res: int = DEFAULT_PROCESS_RES,
        process_res_method: ProcessResMethod | ProcessResMethodName = ProcessResMethod.UPPER_BOUND_RESIZE,
        *,
        perform_normalization: bool = True,
        **options: Unpack[ProcessorKwargs],
    ) -> ProcessedBatch:
        """Prepare the views of one scene as one batch.

        Args:
            image: list of images, or one image, a folder or a pattern; see
                `depth_anything_3.inputs.given_images.expand_images`.
            extrinsics: (N, 4, 4) world-to-camera matrices, or None.
            intrinsics: (N, 3, 3) camera matrices in pixels of the upright source images, or None.
            process_res: length of the bounded side in pixels, at least 14.
            process_res_method: which side is bounded, and how sides become multiples of 14.
            perform_normalization: False returns the 8-bit images, to be normalised on the network's device.
            options: num_workers, executor, on_error, exif, mixed_sizes, strategy, fidelity, max_pixels, max_bytes,
                allow_truncated; see `depth_anything_3.inputs.options.PreprocessOptions`. `sequential=True` prepares
                one image at a time; `print_progress` and `desc` are accepted without effect.

        Returns:
            A `ProcessedBatch`; used as a tuple, it is `(tensor, extrinsics, intrinsics)`. With fidelity "exact",
            pixels are within one 8-bit level (1 LSB) of the reference's OpenCV resizes.

        Raises:
            InvalidInputError: an argument is not accepted. Its subclasses are ImageTypeError (not an image),
                ImageSizeError (unusable size), ShapeMismatchError (sizes or matrix counts differ) and UnsupportedError
                (a strategy that this machine does not support).
            ImageReadError, ImageDecodeError: a file is missing, unreadable, truncated or damaged.
        """
        if options.pop("sequential", None):
            options["num_workers"] = 1
        desc, print_progress = options.pop("desc", None), options.pop("print_progress", False)
        if print_progress and not self._warned_of_progress:
            self._warned_of_progress = True
            logger.warning("print_progress=True (desc=%r): no effect; progress is not printed", desc)
        check_names(options, caller=self.__call__, keywords=ViewKwargs)
        given = {**options, "process_res": process_res, "process_res_method": process_res_method}
        parsed = PreprocessOptions(**given)  # type: ignore[arg-type]  # it checks and parses them
        return self.views(image, parsed, extrinsics, intrinsics, normalized=perform_normalization)

    def views(
        self,
        images: ImagesInput,
        options: PreprocessOptions = _DEFAULTS,
        extrinsics: Any = None,  # Any: whatever numpy converts to an array
        intrinsics: Any = None,
        *,
        normalized: bool = True,
    ) -> ProcessedBatch:
        """Prepare the views of one scene as one batch; like `__call__`, with the options in one record."""
        inputs = list(expand_images(images).images)
        if not inputs:
            raise InvalidInputError("the list of images is empty")
        ext, ixt = parse_extrinsics(extrinsics, len(inputs)), parse_intrinsics(intrinsics, len(inputs))
        request = Request.of(options.strategy, options.fidelity, batch_size=len(inputs), workers=options.num_workers)
        raising = options.on_error is OnError.RAISE
        self._renew_after_fork()
        self._enter()
        failures: list[ImageFailure] = []
        groups: dict[tuple[int, int], list[Image]] = {}
        for result in self._prepare_views(inputs, options, request, self._memory(len(inputs), normalized)):
            if isinstance(result, ImageFailure):
                failures.append(result)
                if raising:
                    break  # an earlier image may still fail on the GPU; the first failure is raised
            else:
                groups.setdefault(result.plan.result_hw, []).append(result)
        with translate_device_errors(self.device):
            batches = [self._assemble_views(group, normalized) for group in groups.values()]
            batches = [self._deliver(batch) for batch in batches]
        failures += [one for batch in batches for one in batch.failures]
        failures.sort(key=lambda one: one.index)
        batches = [_logged(batch) for batch in batches if batch.images]
        if failures and (raising or not batches):
            _raise(failures, raising)
        with translate_device_errors(self.device):
            batch = crop_or_pad(batches, options.mixed_sizes)
        used = [one.index for one in batch.images]
        matrices = None if ixt is None else transform_intrinsics(batch, ixt)
        return replace(
            batch,
            extrinsics=None if ext is None else torch.from_numpy(ext[used].astype(np.float32)),
            intrinsics=None if matrices is None else torch.from_numpy(np.stack(matrices).astype(np.float32)),
            failures=tuple(failures),
        )

    def batches(
        self,
        images: ImagesInput,
        options: PreprocessOptions = _DEFAULTS,
        *,
        batch_size: int = 1,
        limit: Callable[[tuple[int, int]], int] | None = None,
        on_shortage: Callable[[tuple[int, int], int], None] | None = None,
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        """Yield independent images in batches of one size, prepared ahead in a background thread; nothing is cropped.

        Args:
            images: as for `__call__`. An iterable is consumed a few batches ahead, in another thread, so a generator
                must yield a new array each time and not reuse one buffer.
            options: preprocessing options; `on_error` and `mixed_sizes` are ignored.
            batch_size: maximum number of images in a batch.
            limit: returns the current maximum for results of (height, width); `batch_size` is then only an estimate.
            on_shortage: called with (height, width) and the number of images if memory does not hold such a batch, or
                runs out twice while batches of that size are assembled; `limit` should return less from then on.

        Yields:
            Normalised batches, not in the order of the images: `images[i].index` is the index in the input. Each
            unusable image yields an `ImageFailure`, alone or in a batch's `failures`. A batch that memory does not hold
            is yielded in parts.
        """
        request = Request.of(
            options.strategy,
            options.fidelity,
            batch_size=batch_size,
            workers=options.num_workers,
            overlapped=True,
        )
        prepared = self._prepare(images, options, request, self._memory(None, True))
        context = self._enter()
        return self._batches(
            prepared, limit or (lambda size: batch_size), on_shortage or (lambda size, count: None), context
        )

    def _batches(
        self,
        prepared: Iterator[Image | ImageFailure],
        limit: Callable[[tuple[int, int]], int],
        on_shortage: Callable[[tuple[int, int], int], None],
        context: AbstractContextManager[Any],
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        def bucketed() -> Generator[list[Image] | ImageFailure, None, None]:
            with context:
                yield from bucket_by_size(prepared, limit, _LOOKAHEAD_BATCHES)

        def assembled(
            groups: Generator[list[Image] | ImageFailure, None, None],
        ) -> Generator[ProcessedBatch | list[Image] | ImageFailure, None, None]:
            with closing(groups):
                for group in groups:
                    if isinstance(group, ImageFailure):
                        yield group
                    else:
                        batch = self._attempt(group, True)
                        yield group if isinstance(batch, str) else batch

        if self._assembles_in_background:
            made = in_background(assembled(bucketed()), ahead=1, threads=self._threads)
        else:
            made = assembled(in_background(bucketed(), ahead=1, threads=self._threads))
        sizes_short: set[tuple[int, int]] = set()
        with closing(made):
            for item in made:
                if isinstance(item, ImageFailure):
                    yield item
                elif isinstance(item, ProcessedBatch):
                    yield _logged(self._deliver(item))
                else:  # memory ran out; here, in the network's thread, the network does not use any
                    size = item[0].plan.result_hw
                    if size in sizes_short:
                        on_shortage(size, len(item))
                    sizes_short.add(size)
                    yield from self._assemble_smaller(item, on_shortage)

    def _attempt(self, images: Sequence[Image], normalized: bool) -> ProcessedBatch | str:
        """Assemble a batch, or return the reason if memory runs out."""
        try:
            return self._assemble(images, normalized)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return error_reason(error)  # without the error, which keeps its frames' tensors alive

    def _assemble_views(self, images: Sequence[Image], normalized: bool) -> ProcessedBatch:
        """Assemble images that must form one batch; if memory runs out, give some back and try once more."""
        batch = self._attempt(images, normalized)
        if not isinstance(batch, str):
            return batch
        self.release_memory()
        return self._assemble(images, normalized)

    def _assemble_smaller(
        self, images: list[Image], on_shortage: Callable[[tuple[int, int], int], None]
    ) -> Iterator[ProcessedBatch | ImageFailure]:
        """Give memory back and assemble a batch for which it ran out: whole, then in halves.

        A half is yielded, and so used, before the next one is assembled. An image that does not fit alone fails.
        """
        self.release_memory()
        batch = self._attempt(images, True)
        if not isinstance(batch, str):
            yield _logged(self._deliver(batch))
            return
        size, count = images[0].plan.result_hw, len(images)
        if count == 1:
            yield memory_failure(images[0].index, images[0].label, size, self.device, batch)
            return
        on_shortage(size, count)
        for half in (images[: count // 2], images[count // 2 :]):
            yield from self._assemble_smaller(half, on_shortage)

    def _memory(self, count: int | None, normalized: bool) -> SlotOf | None:
        """Return the memory of a batch of `count` images, or of single images; None: allocated where they are made."""
        return None

    def _prepare_views(
        self, images: Sequence[ImageInput], options: PreprocessOptions, request: Request, slot_of: SlotOf | None
    ) -> Iterator[Image | ImageFailure]:
        """Run the CPU stage of images in this thread and in workers; yield the results in order.

        Images that would leave workers idle, as a single one, are resampled by several.
        """
        if options.executor is Executor.PROCESS:
            return self._prepare(images, options, request)
        inputs = list(read_open_files(images, options.max_bytes))
        worker = partial(self._worker, options, request, slot_of)
        workers = 1 if _is_little(images, options.bounded_px) else options.num_workers
        until_failure = options.on_error is OnError.RAISE
        return iter(self._pools.map_all(worker, inputs, count=workers, until_failure=until_failure))  # type: ignore[arg-type]  # workers take both

    def _prepare(
        self, images: ImagesInput, options: PreprocessOptions, request: Request, slot_of: SlotOf | None = None
    ) -> Iterator[Image | ImageFailure]:
        """Run the CPU stage of each image in the workers; yield the results in order."""
        inputs = read_open_files(expand_images(images).images, options.max_bytes)
        self._renew_after_fork()
        is_process = options.executor is Executor.PROCESS  # which cannot write this process's memory
        worker = self._worker(options, request, None if is_process else slot_of)
        if is_process:
            here = partial(decoded_here, allow_truncated=options.allow_truncated)
            inputs = (here(image, index) for index, image in enumerate(inputs))
        return self._pools.map(worker, inputs, kind=options.executor, count=options.num_workers)  # type: ignore[arg-type]  # workers take both

    def warm_up(self) -> None:
        """Load the compiled kernels before the first image; compilation takes seconds, once per machine."""
        tiny = np.zeros((2 * PATCH_SIZE, 2 * PATCH_SIZE, 3), np.uint8)
        self.views([tiny], PreprocessOptions(process_res=PATCH_SIZE, num_workers=1))

    def release_memory(self) -> None:
        """Give back the device's memory that is held only to be reused; called when memory runs out."""
        empty_cache(self.device)

    def close(self) -> None:
        """End the workers; the next call starts new ones. An iteration in progress raises `CancelledError`."""
        self._pools.close()
        self._threads.close()

    def __enter__(self: Processor) -> Processor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _new_preparers() -> Callable[[PreprocessOptions], ImagePreparer]:
    return lru_cache(maxsize=_MAX_PREPARERS)(partial(ImagePreparer, scratch=ScratchBuffer()))


def _is_little(images: Sequence[ImageInput], process_res: int) -> bool:
    """Whether images take less time than another thread needs to begin."""
    samples = sum(one.nbytes if isinstance(one, np.ndarray) else _LITTLE for one in images)
    return samples + 3 * len(images) * process_res**2 < _LITTLE


def _logged(batch: ProcessedBatch) -> ProcessedBatch:
    """Log the warnings of a batch here, in the parent of the worker processes, and once."""
    log_warnings(text for one in batch.images for text in one.warnings)
    return batch


def _raise(failures: Sequence[ImageFailure], raising: bool) -> NoReturn:
    """Raise the first error if `raising`, else one for all the images, which were all skipped."""
    if raising:
        raise_failure(failures[0])
    first = failures[0].error
    if len(failures) == 1:
        raise first
    listed = "; ".join(str(one.error) for one in failures[:_MAX_FAILURES_LISTED])
    raise type(first)(f"none of the {len(failures)} images can be used: {listed}") from first
