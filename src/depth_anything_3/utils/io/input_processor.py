"""Images in, one tensor for the network out: prepared in parallel on the CPU, in the caller's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.mixed_sizes import MixedSizes
from depth_anything_3.inputs.batch.preparer import Exif, ImagePreparer
from depth_anything_3.inputs.batch.processor import BatchProcessor, ExecutorKind
from depth_anything_3.inputs.batch.records import PreparedImage
from depth_anything_3.inputs.failure import ImageFailure, OnError
from depth_anything_3.inputs.limits import Reading, ReadingOptions
from depth_anything_3.inputs.plan.resize_plan import ProcessResMethod
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.inputs.routing.strategy import Capabilities, Request, check_strategy
from depth_anything_3.inputs.source import ImageInput

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ExecutorKind", "InputProcessor", "MixedSizes", "ProcessedBatch"]


class InputProcessor(BatchProcessor[PreparedImage]):
    """Reads, decodes, resamples and normalises images on the CPU.

    The workers are kept between calls; `close()` (or a `with` block) ends them.

    Args:
        executor: "thread", or "process" where other threads of the program hold the interpreter lock. Processes are
            spawned: a script that uses them needs the `if __name__ == "__main__"` guard.

    Example:
        >>> tensor, _, intrinsics = InputProcessor()(["a.jpg", "b.jpg"], process_res=504)
    """

    def __init__(self, *, executor: ExecutorKind | str = ExecutorKind.THREAD) -> None:
        super().__init__(ExecutorKind(executor))
        self._levels = normalized_levels()

    def iterate(
        self,
        images: Iterable[ImageInput],
        process_res: int = 504,
        process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
        *,
        num_workers: int = 8,
        on_error: OnError | str = OnError.RAISE,
        exif: Exif | str = Exif.APPLY,
        **reading: Unpack[ReadingOptions],
    ) -> Iterator[PreparedImage | ImageFailure]:
        """Prepare independent images one after the other, decoding ahead; memory stays flat however many come.

        Args:
            images: any iterable of images; a generator is drawn from only as results are taken, a few images ahead, so
                it must yield a new array each time and not one buffer that it fills again.
            process_res, process_res_method, num_workers, on_error, exif, reading: as for a call.

        Yields:
            A `PreparedImage` for each image, in order; with `on_error="skip"`, an `ImageFailure` in the place of each
            that cannot be used.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError: as for a call, at that image's place in the order.
        """
        read = Reading.of(reading)
        return self._each(
            images, process_res, process_res_method, exif, num_workers, Request(), read, OnError(on_error)
        )

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle and copy take; workers and caches stay behind
        return partial(InputProcessor, executor=self._kind), ()

    def _worker(self, preparer: ImagePreparer, request: Request) -> Callable[[int, ImageInput], PreparedImage]:
        check_strategy(Capabilities(), request)
        return preparer

    def _assemble(self, images: Sequence[PreparedImage], normalized: bool) -> ProcessedBatch:
        stacked = np.stack([one.pixels for one in images])
        pixels = torch.from_numpy(stacked)
        if not normalized:
            return ProcessedBatch(pixels, None, None, tuple(images), (), pixels)
        batch = np.empty(stacked.shape, np.float32)
        for one, target in zip(stacked, batch, strict=True):
            normalize(one, self._levels, target)
        return ProcessedBatch(torch.from_numpy(batch), None, None, tuple(images), (), pixels)
