"""Images in, one tensor for the network out: prepared in parallel on the CPU, in the caller's order."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.option import Option
from depth_anything_3.utils.io.failure import ImageFailure, OnError
from depth_anything_3.utils.io.normalize import normalize, normalized_levels
from depth_anything_3.utils.io.prefetch import ordered_map
from depth_anything_3.utils.io.prepare import Exif, ImagePreparer, PreparedImage
from depth_anything_3.utils.io.resize_plan import PATCH_SIZE, ProcessResMethod, center_crop, crop_intrinsics
from depth_anything_3.utils.io.source import ImageInput, check_several

__all__ = ["ExecutorKind", "InputProcessor", "MixedSizes", "ProcessedBatch", "usable_cores"]

logger = logging.getLogger(__name__)

_PREPARERS_KEPT = 8
_FAILURES_TOLD = 10

FloatArray = npt.NDArray[np.floating]


class ExecutorKind(Option):
    """What the workers are. Decoding and resampling run outside the interpreter lock, so threads are enough."""

    THREAD = "thread"
    PROCESS = "process"


class MixedSizes(Option):
    """What to do when the views of one batch end up with different sizes.

    `CROP` cuts each to the smallest height and the smallest width, as upstream does, with a warning; `REFUSE` raises.
    """

    CROP = "crop"
    REFUSE = "refuse"


@dataclass(frozen=True, eq=False)
class ProcessedBatch:
    """What `InputProcessor` returns. Unpacks as `tensor, extrinsics, intrinsics`.

    Attributes:
        tensor: (N, 3, H, W), contiguous: float32 normalised, or uint8 without normalisation.
        extrinsics: (N, 4, 4) float32 world-to-camera (OpenCV), unchanged, or None.
        intrinsics: (N, 3, 3) float32 in pixels of the result, or None.
        images: the N pictures that made it, in order, with their plans and timings.
        failures: those that were left out.
    """

    tensor: torch.Tensor
    extrinsics: torch.Tensor | None
    intrinsics: torch.Tensor | None
    images: tuple[PreparedImage, ...]
    failures: tuple[ImageFailure, ...] = ()

    def __iter__(self) -> Iterator[torch.Tensor | None]:
        yield from (self.tensor, self.extrinsics, self.intrinsics)


class InputProcessor:
    """Reads, decodes, resamples and normalises images on the CPU.

    The workers are kept between calls; `close()` (or a `with` block) ends them.

    Args:
        executor: "thread", or "process" where other threads of the program hold the interpreter lock. Processes are
            spawned: a script that uses them needs the `if __name__ == "__main__"` guard.

    Example:
        >>> tensor, _, intrinsics = InputProcessor()(["a.jpg", "b.jpg"], process_res=504)
    """

    def __init__(self, *, executor: ExecutorKind | str = ExecutorKind.THREAD) -> None:
        self._kind = ExecutorKind(executor)
        self._pool: Executor | None = None
        self._pool_size = 0
        self._preparer = lru_cache(maxsize=_PREPARERS_KEPT, typed=True)(ImagePreparer)
        self._levels = normalized_levels()

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
    ) -> ProcessedBatch:
        """Prepare the views of one scene as one batch.

        Args:
            image: list of images; see `depth_anything_3.utils.io.source.as_source` for the kinds.
            extrinsics: (N, 4, 4) world-to-camera matrices, or None.
            intrinsics: (N, 3, 3) camera matrices in pixels of the upright source pictures, or None.
            process_res: length in pixels of the bounded side, at least 14.
            process_res_method: which side is bounded, and how sides become multiples of 14.
            num_workers: images prepared at a time, at most one for each core of this process.
            perform_normalization: False returns the 8-bit pictures, to be normalised where the network is.
            on_error: "raise" at the first image that cannot be used, or "skip" it (and its camera).
            exif: "apply" turns pictures upright by their EXIF orientation, "ignore" leaves them, as upstream does.
            mixed_sizes: "crop" all to the smallest height and width, or "refuse".

        Returns:
            A `ProcessedBatch`; unpack it as `tensor, extrinsics, intrinsics`. Pixels are within 1 level (of 255) of
            two OpenCV resizes.

        Raises:
            InvalidInputError: an argument is not accepted; its subclasses ImageTypeError, ImageSizeError,
                ShapeMismatchError name an image that is none, has no usable size, or does not fit the others.
            ImageReadError, ImageDecodeError: a file is missing, unreadable, truncated or damaged.
        """
        check_several(image)
        inputs = list(image)
        if not inputs:
            raise InvalidInputError("the list of images is empty")
        mixed = MixedSizes(mixed_sizes)
        ext = _cameras(extrinsics, "extrinsics", (4, 4), len(inputs))
        ixt = _cameras(intrinsics, "intrinsics", (3, 3), len(inputs))
        results = self.iterate(
            inputs, process_res, process_res_method, num_workers=num_workers, on_error=on_error, exif=exif
        )
        images: list[PreparedImage] = []
        failures: list[ImageFailure] = []
        for result in results:
            if isinstance(result, ImageFailure):
                failures.append(result)
            else:
                images.append(result)
        if not images:
            first = failures[0].error
            if len(failures) == 1:
                raise first
            listed = "; ".join(str(one.error) for one in failures[:_FAILURES_TOLD])
            raise type(first)(f"none of the {len(failures)} images can be used: {listed}") from first
        kept = [one.index for one in images]
        matrices = None if ixt is None else [one.plan.transform_intrinsics(ixt[one.index]) for one in images]
        pixels, matrices = _unify(images, matrices, mixed)
        tensor = torch.from_numpy(self._stack(pixels, perform_normalization))
        return ProcessedBatch(
            tensor,
            None if ext is None else torch.from_numpy(ext[kept].astype(np.float32)),
            None if matrices is None else torch.from_numpy(np.stack(matrices).astype(np.float32)),
            tuple(images),
            tuple(failures),
        )

    def iterate(
        self,
        images: Iterable[ImageInput],
        process_res: int = 504,
        process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
        *,
        num_workers: int = 8,
        on_error: OnError | str = OnError.RAISE,
        exif: Exif | str = Exif.APPLY,
    ) -> Iterator[PreparedImage | ImageFailure]:
        """Prepare independent images one after the other, decoding ahead; memory stays flat however many come.

        Args:
            images: any iterable of images; a generator is drawn from only as results are taken, a few images ahead, so
                it must yield a new array each time and not one buffer that it fills again.
            process_res, process_res_method, num_workers, on_error, exif: as for a call.

        Yields:
            A `PreparedImage` for each image, in order; with `on_error="skip"`, an `ImageFailure` in the place of each
            that cannot be used.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError: as for a call, at that image's place in the order.
        """
        check_several(images)
        try:
            preparer = self._preparer(process_res, process_res_method, exif)
        except TypeError:  # not hashable, so not accepted either: let it be told as such
            preparer = ImagePreparer(process_res, process_res_method, exif)
        if self._kind is ExecutorKind.PROCESS:
            images = (bytes(image) if isinstance(image, memoryview) else image for image in images)
        work = preparer if OnError(on_error) is OnError.RAISE else preparer.attempt
        return ordered_map(self._workers(num_workers), work, images, ahead=2 * num_workers)

    def warm_up(self) -> None:
        """Load the compiled kernel now, not with the first picture; compiling it takes seconds, once on a machine."""
        tiny = np.zeros((2 * PATCH_SIZE, 2 * PATCH_SIZE, 3), np.uint8)
        # The kernel is compiled once for plain and once for turned results; reversed channels need the second.
        self([tiny, tiny[..., ::-1]], process_res=PATCH_SIZE, num_workers=1)

    def close(self) -> None:
        """End the workers; the next call starts new ones. An `iterate` under way ends with `CancelledError`."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> InputProcessor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle and copy take; workers and caches stay behind
        return partial(InputProcessor, executor=self._kind), ()

    def _workers(self, count: int) -> Executor:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidInputError(f"num_workers={count!r}: give a whole number, 1 or more")
        # One worker a core at most: more of them fight over the cores and hold a full-size bitmap each.
        count = min(count, usable_cores())
        if self._pool is None or self._pool_size != count:
            self._pool = None  # not closed: a stream may still draw from it; its workers end with the last of them
            if self._kind is ExecutorKind.THREAD:
                self._pool = ThreadPoolExecutor(count, thread_name_prefix="da3-prepare")
            else:
                # Spawned, because a fork of a process that runs torch's threads can hang.
                self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
            self._pool_size = count
        return self._pool

    def _stack(self, pixels: Sequence[npt.NDArray[np.uint8]], perform_normalization: bool) -> npt.NDArray[Any]:
        if not perform_normalization:
            return np.stack(pixels)
        batch = np.empty((len(pixels), *pixels[0].shape), np.float32)
        for one, target in zip(pixels, batch, strict=True):
            normalize(one, self._levels, target)
        return batch


def usable_cores() -> int:
    """Cores this process may use; on a cluster that can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cameras(matrices: Any, name: str, shape: tuple[int, int], count: int) -> npt.NDArray[np.floating] | None:
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
    return array


def _unify(
    images: Sequence[PreparedImage], intrinsics: list[FloatArray] | None, mixed: MixedSizes
) -> tuple[list[npt.NDArray[np.uint8]], list[FloatArray] | None]:
    """Cut pictures of different sizes to the smallest height and the smallest width, each taken on its own."""
    sizes = [one.plan.result_hw for one in images]
    pixels = [one.pixels for one in images]
    if len(set(sizes)) == 1:
        return pixels, intrinsics
    common = min(height for height, _ in sizes), min(width for _, width in sizes)
    listed = ", ".join(f"{one.label} {size[1]}x{size[0]}" for one, size in list(zip(images, sizes, strict=True))[:10])
    if mixed is MixedSizes.REFUSE:
        raise ShapeMismatchError(
            f"the views have different sizes after resizing ({listed}); give views of one shape, or "
            "mixed_sizes='crop' to cut all to the smallest"
        )
    logger.warning("the views have different sizes (%s): all are cut to %dx%d", listed, common[1], common[0])
    crops = [center_crop(size, common) for size in sizes]
    pixels = [
        one[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        for one, crop in zip(pixels, crops, strict=True)
    ]
    if intrinsics is not None:
        intrinsics = [crop_intrinsics(one, crop) for one, crop in zip(intrinsics, crops, strict=True)]
    return pixels, intrinsics
