"""Prepare images for the network on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.batch_memory import BatchMemory, SlotOf, joined, own_slot
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.batch.records import PreparedImage
from depth_anything_3.inputs.choices import Executor, MixedSizes, OnError
from depth_anything_3.inputs.failure import ImageFailure, log_warnings, raise_failure
from depth_anything_3.inputs.given_images import ImagesInput
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.options import PreprocessKwargs, PreprocessOptions
from depth_anything_3.inputs.resample.cpu import Share
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.inputs.routing.strategy import Capabilities, Request, check_strategy

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Executor", "InputProcessor", "MixedSizes", "ProcessedBatch"]


class InputProcessor(BatchProcessor[PreparedImage]):
    """Read, decode, resample and normalise images on the CPU.

    The workers are reused between calls; `close()` (or a `with` block) ends them.

    Example:
        >>> tensor, _, intrinsics = InputProcessor()(["a.jpg", "b.jpg"], process_res=504)
    """

    def __init__(self) -> None:
        super().__init__()
        self._levels = normalized_levels()

    def iterate(
        self, images: ImagesInput, **options: Unpack[PreprocessKwargs]
    ) -> Iterator[PreparedImage | ImageFailure]:
        """Yield independent images in order, decoding a few ahead; memory use does not grow with their number.

        Args:
            images: as for `__call__`. An iterable is consumed a few images ahead of the results, so a generator must
                yield a new array each time and not reuse one buffer.
            options: see `depth_anything_3.inputs.options.PreprocessOptions`.

        Yields:
            A `PreparedImage` for each image, in order; with `on_error="skip"`, an `ImageFailure` for an unusable one.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError: as in `__call__`, when iteration reaches the image.
        """
        parsed = PreprocessOptions.parse(options, caller=self.iterate)
        prepared = self._prepare(images, parsed, Request())
        return _logged(prepared, raising=parsed.on_error is OnError.RAISE)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle accepts; workers and caches are not copied
        return InputProcessor, ()

    def _worker(
        self, options: PreprocessOptions, request: Request, slot_of: SlotOf | None = None, share: Share | None = None
    ) -> Callable[[int, ImageInput], PreparedImage]:
        check_strategy(Capabilities(), request)
        return partial(self._preparer(options), slot_of=slot_of, share=share)

    def _memory(self, count: int | None, normalized: bool) -> SlotOf | None:
        return (
            own_slot(self._levels) if count is None else BatchMemory(count, self._levels if normalized else None).slot
        )

    def _assemble(self, images: Sequence[PreparedImage], normalized: bool) -> ProcessedBatch:
        pixels = torch.from_numpy(joined([one.pixels for one in images]))
        if not normalized:
            return ProcessedBatch(pixels, None, None, tuple(images), (), pixels)
        # Worker processes return pixels only.
        values = [normalize(one.pixels, self._levels) if one.normalized is None else one.normalized for one in images]
        return ProcessedBatch(torch.from_numpy(joined(values)), None, None, tuple(images), (), pixels)


def _logged(
    prepared: Iterator[PreparedImage | ImageFailure], *, raising: bool
) -> Iterator[PreparedImage | ImageFailure]:
    """Log the warnings of images; raise the error of an unusable image, or yield it."""
    for one in prepared:
        if not isinstance(one, ImageFailure):
            log_warnings(one.warnings)
        elif raising:
            raise_failure(one)
        yield one
