"""What the processors for the CPU and for GPUs share: images in, in the caller's order; batches of one size out."""

from __future__ import annotations

import logging
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import ImageDecodeError, InvalidInputError, ShapeMismatchError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.bucketing import bucket_by_size
from depth_anything_3.inputs.batch.mixed_sizes import MixedSizes, crop_or_pad, transform_intrinsics
from depth_anything_3.inputs.batch.preparer import Exif, ImagePreparer, ScratchBuffer, attempt
from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.failure import ImageFailure, OnError
from depth_anything_3.inputs.limits import Reading, ReadingOptions
from depth_anything_3.inputs.plan.resize_plan import PATCH_SIZE, ProcessResMethod
from depth_anything_3.inputs.routing.strategy import Fidelity, Request, Strategy
from depth_anything_3.inputs.source import ImageInput, as_source, check_several
from depth_anything_3.runtime.choice import StringEnum, positive_int
from depth_anything_3.runtime.prefetch import in_background, ordered_map
from depth_anything_3.runtime.threads import ThreadPool, usable_cores

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BatchProcessor", "ExecutorKind"]

logger = logging.getLogger(__name__)

_PREPARER_CACHE_SIZE = 8
_POOL_CACHE_SIZE = 4
_FAILURES_TOLD = 10
_BATCHES_LOOKED_AHEAD = 4
_MIN_DETERMINANT = 1e-6  # of a rotation it is 1, of intrinsics the product of the focal lengths

FloatArray = npt.NDArray[np.floating]
Image = TypeVar("Image", bound=PlannedImage)
Processor = TypeVar("Processor", bound="BatchProcessor[Any]")  # Any: whatever its images are


class ExecutorKind(StringEnum):
    """What the workers are. Decoding and resampling run outside the interpreter lock, so threads are enough."""

    THREAD = "thread"
    PROCESS = "process"


class BatchProcessor(ABC, Generic[Image]):
    """Reads, decodes, resamples and normalises images. The workers are kept between calls; `close()` ends them."""

    def __init__(self, executor: ExecutorKind = ExecutorKind.THREAD) -> None:
        self._kind = executor
        self._pools: dict[int, Executor] = {}  # by their number of workers, the one used last at the end
        self._pool_size = 1  # of that one
        self._threads = ThreadPool()
        self._preparer = lru_cache(maxsize=_PREPARER_CACHE_SIZE, typed=True)(
            partial(ImagePreparer, kept=ScratchBuffer())
        )

    @abstractmethod
    def _worker(self, preparer: ImagePreparer, request: Request) -> Callable[[int, ImageInput], Image]:
        """What the workers do to one image; raises for a request that this machine cannot carry out."""

    @abstractmethod
    def _assemble(self, images: Sequence[Image], normalized: bool) -> ProcessedBatch:
        """Pictures of one size to a batch without cameras."""

    _assembles_in_background = True
    """Whether batches may be assembled in another thread than the network's."""

    def _begin(self) -> AbstractContextManager[Any]:  # Any: whatever the context gives
        """Called where a call begins, in the caller's thread; what it returns is entered by the thread that works."""
        return nullcontext()

    def _received(self, batch: ProcessedBatch) -> ProcessedBatch:
        """The same batch, once the caller may use it: it may have been made in another thread, or still be."""
        return batch

    def __call__(
        self,
        image: Iterable[ImageInput],
        extrinsics: Any = None,  # Any: whatever numpy makes an array of
        intrinsics: Any = None,
        process_res: int = 504,
        process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
        *,
        num_workers: int = 8,
        perform_normalization: bool = True,
        on_error: OnError | str = OnError.RAISE,
        exif: Exif | str = Exif.APPLY,
        mixed_sizes: MixedSizes | str = MixedSizes.CROP,
        strategy: Strategy | str = Strategy.AUTO,
        fidelity: Fidelity | str = Fidelity.EXACT,
        **reading: Unpack[ReadingOptions],
    ) -> ProcessedBatch:
        """Prepare the views of one scene as one batch.

        Args:
            image: list of images; see `depth_anything_3.inputs.source.as_source` for the kinds.
            extrinsics: (N, 4, 4) world-to-camera matrices, or None.
            intrinsics: (N, 3, 3) camera matrices in pixels of the upright source pictures, or None.
            process_res: length in pixels of the bounded side, at least 14.
            process_res_method: which side is bounded, and how sides become multiples of 14.
            num_workers: images prepared at a time on the CPU, at most one for each core of this process.
            perform_normalization: False returns the 8-bit pictures, to be normalised where the network is.
            on_error: "raise" at the first image that cannot be used, or "skip" it (and its camera).
            exif: "apply" turns pictures upright by their EXIF orientation, "ignore" leaves them, as upstream does.
            mixed_sizes: "crop" all to the smallest height and width, "pad" them to the largest, or "refuse".
            strategy: "auto", or the way to take: "gpu_decode", "hybrid", "full_gpu", "cpu". At "auto" the environment
                variable DA3_STRATEGY decides if it is set, else the machine and the kind of image.
            fidelity: "exact" (at most one level of 255 from the reference), "high" or "fast".
            reading: max_pixels, max_bytes, allow_truncated; see `depth_anything_3.inputs.limits.Reading`.

        Returns:
            A `ProcessedBatch`; unpack it as `tensor, extrinsics, intrinsics`. Pixels are within 1 level (of 255) of
            two OpenCV resizes, if fidelity is "exact".

        Raises:
            InvalidInputError: an argument is not accepted; its subclasses ImageTypeError, ImageSizeError,
                ShapeMismatchError name an image that is none, has no usable size, or does not fit the others, and
                UnsupportedError a strategy that this machine cannot carry out.
            ImageReadError, ImageDecodeError: a file is missing, unreadable, truncated or damaged.
        """
        check_several(image)
        inputs = list(image)
        if not inputs:
            raise InvalidInputError("the list of images is empty")
        mixed, raising = MixedSizes(mixed_sizes), OnError(on_error) is OnError.RAISE
        ext = _cameras(extrinsics, "extrinsics", (4, 4), len(inputs))
        ixt = _cameras(intrinsics, "intrinsics", (3, 3), len(inputs))
        request = Request.of(strategy, fidelity, batch_size=len(inputs), workers=num_workers)
        self._begin()
        failures: list[ImageFailure] = []
        groups: dict[tuple[int, int], list[Image]] = {}
        read = Reading.of(reading)
        for result in self._each(inputs, process_res, process_res_method, exif, num_workers, request, read):
            if isinstance(result, ImageFailure):
                failures.append(result)
                if raising:
                    break  # but an image before it may yet fail on the GPU, and the first one is raised
            else:
                groups.setdefault(result.plan.result_hw, []).append(result)
        batches = [self._assemble(group, perform_normalization) for group in groups.values()]
        failures += [one for batch in batches for one in batch.failures]
        failures.sort(key=lambda one: one.index)
        batches = [self._received(batch) for batch in batches if batch.images]
        if failures and (raising or not batches):
            _raise(failures, raising)
        batch = crop_or_pad(batches, mixed)
        kept = [one.index for one in batch.images]
        matrices = None if ixt is None else transform_intrinsics(batch, ixt)
        return replace(
            batch,
            extrinsics=None if ext is None else torch.from_numpy(ext[kept].astype(np.float32)),
            intrinsics=None if matrices is None else torch.from_numpy(np.stack(matrices).astype(np.float32)),
            failures=tuple(failures),
        )

    def batches(
        self,
        images: Iterable[ImageInput],
        batch_size: int = 1,
        process_res: int = 504,
        process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
        *,
        num_workers: int = 8,
        exif: Exif | str = Exif.APPLY,
        strategy: Strategy | str = Strategy.AUTO,
        fidelity: Fidelity | str = Fidelity.EXACT,
        limit: Callable[[tuple[int, int]], int] | None = None,
        **reading: Unpack[ReadingOptions],
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        """Group independent images into batches of one size, made ahead in a thread of their own; nothing is cropped.

        Args:
            images: any iterable of images, drawn from a few batches ahead and in that thread, so a generator must yield
                a new array each time and not one buffer that it fills again.
            batch_size: most images in a batch.
            process_res, process_res_method, num_workers, exif, strategy, fidelity, reading: as for a call.
            limit: where the most changes on the way: gives it for results of (height, width); `batch_size` is then what
                to expect.

        Yields:
            Normalised batches; not in the order of the images, whose places are in `images[i].index`. An `ImageFailure`
            for each image that cannot be used, alone or in a batch's `failures`.
        """
        request = Request.of(strategy, fidelity, batch_size=batch_size, workers=num_workers, overlapped=True)
        read = Reading.of(reading)
        each = self._each(images, process_res, process_res_method, exif, num_workers, request, read)
        return self._batches(each, limit or (lambda size: batch_size), self._begin())

    def _batches(
        self,
        each: Iterator[Image | ImageFailure],
        limit: Callable[[tuple[int, int]], int],
        context: AbstractContextManager[Any],
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        def grouped() -> Generator[list[Image] | ImageFailure, None, None]:
            with context:
                yield from bucket_by_size(each, limit, _BATCHES_LOOKED_AHEAD)

        def assembled(
            groups: Generator[list[Image] | ImageFailure, None, None],
        ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
            with closing(groups):
                for group in groups:
                    yield group if isinstance(group, ImageFailure) else self._assemble(group, True)

        if self._assembles_in_background:
            made = in_background(assembled(grouped()), ahead=1, threads=self._threads)
        else:
            made = assembled(in_background(grouped(), ahead=1, threads=self._threads))
        with closing(made):
            for item in made:
                yield item if isinstance(item, ImageFailure) else self._received(item)

    def _each(
        self,
        images: Iterable[ImageInput],
        process_res: int,
        process_res_method: ProcessResMethod | str,
        exif: Exif | str,
        num_workers: int,
        request: Request,
        reading: Reading,
        on_error: OnError = OnError.SKIP,
    ) -> Iterator[Image | ImageFailure]:
        check_several(images)
        try:
            preparer = self._preparer(process_res, process_res_method, exif, request.fidelity, reading)
        except TypeError:  # not hashable, so not accepted either: let it be told as such
            preparer = ImagePreparer(process_res, process_res_method, exif, request.fidelity, reading)
        work = self._worker(preparer, request)
        if self._kind is ExecutorKind.PROCESS:
            images = (bytes(image) if isinstance(image, memoryview) else image for image in images)
        raising = on_error is OnError.RAISE
        return ordered_map(
            self._workers(num_workers),
            work if raising else partial(attempt, work),
            images,
            ahead=2 * num_workers,
            renew=partial(self._new_workers, num_workers) if self._kind is ExecutorKind.PROCESS else None,
            lost=partial(attempt, _killed) if not raising else _killed,
        )

    def _new_workers(self, count: int) -> Executor:
        self._pools.clear()
        return self._workers(count)

    def warm_up(self) -> None:
        """Load the compiled kernels now, not with the first picture; compiling takes seconds, once on a machine."""
        tiny = np.zeros((2 * PATCH_SIZE, 2 * PATCH_SIZE, 3), np.uint8)
        # The kernel is compiled once for plain and once for turned results; reversed channels need the second.
        self([tiny, tiny[..., ::-1]], process_res=PATCH_SIZE, num_workers=1)

    def close(self) -> None:
        """End the workers; the next call starts new ones. An iteration under way ends with `CancelledError`."""
        while self._pools:
            self._pools.popitem()[1].shutdown(cancel_futures=True)
        self._threads.close()

    def __enter__(self: Processor) -> Processor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _workers(self, count: int) -> Executor:
        # One worker a core at most: more of them fight over the cores and hold a full-size bitmap each.
        count = min(positive_int("num_workers", count), usable_cores())
        pool = self._pools.pop(count, None) or self._new_pool(count)
        self._pools[count] = pool
        # Threads of other numbers wait for their next turn: new ones would take memory of their own. Pools that go are
        # not closed: a stream may still draw from one; its workers end with the last of them.
        for other in list(self._pools)[: -_POOL_CACHE_SIZE if self._kind is ExecutorKind.THREAD else -1]:
            self._pools.pop(other, None)
        self._pool_size = count
        return pool

    def _new_pool(self, count: int) -> Executor:
        if self._kind is ExecutorKind.THREAD:
            return ThreadPoolExecutor(count, thread_name_prefix="da3-prepare")
        # Spawned, because a fork of a process that runs torch's threads can hang.
        return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def _killed(index: int, image: ImageInput) -> NoReturn:
    raise ImageDecodeError(
        f"{as_source(image, index).label}: the process that decodes it was killed, twice: it takes too much memory, or "
        "breaks the decoder; leave it out"
    )


def _cameras(matrices: Any, name: str, shape: tuple[int, int], count: int) -> FloatArray | None:
    """Check one list of camera matrices against the images; integers become float64."""
    if matrices is None:
        return None
    if isinstance(matrices, torch.Tensor):
        matrices = matrices.detach().cpu()
    try:
        array = np.asarray(matrices)
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}: not an array of numbers of shape (N, {shape[0]}, {shape[1]})") from None
    if array.shape[1:] != shape:
        raise InvalidInputError(f"{name}: the shape must be (N, {shape[0]}, {shape[1]}), not {array.shape}")
    if len(array) != count:
        raise ShapeMismatchError(f"{name}: {len(array)} matrices for {count} images; give one for each image")
    for index, matrix in enumerate(array):
        if not np.isfinite(matrix).all():
            raise InvalidInputError(f"{name} of image {index}: contains NaN or infinity")
        if abs(np.linalg.det(matrix[:3, :3])) < _MIN_DETERMINANT:
            raise InvalidInputError(f"{name} of image {index}: has no inverse, so it is no camera's")
    return array


def _raise(failures: Sequence[ImageFailure], first_only: bool) -> None:
    first = failures[0].error
    if first_only or len(failures) == 1:
        raise first
    listed = "; ".join(str(one.error) for one in failures[:_FAILURES_TOLD])
    raise type(first)(f"none of the {len(failures)} images can be used: {listed}") from first
