"""Bucket independent images by size, and restore the order of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.failure import ImageFailure

__all__ = ["ReorderBuffer", "bucket_by_size"]

Image = TypeVar("Image", bound=PlannedImage)
Result = TypeVar("Result")


def bucket_by_size(
    images: Iterable[Image | ImageFailure], batch_size: Callable[[tuple[int, int]], int], ahead: int
) -> Iterator[list[Image] | ImageFailure]:
    """Group images of one size, looking at most `ahead` batches ahead.

    Nothing is cropped: an image of a unique size forms a batch of its own. Failures pass through immediately.

    Args:
        images: planned images, in order.
        batch_size: returns the maximum number of images in a batch of a size (height, width); it may change over time.
        ahead: how far to look beyond the oldest waiting image, in batches of its size, before its batch is emitted
            incomplete.
    """
    groups: dict[tuple[int, int], list[Image]] = {}  # oldest group first
    for image in images:
        if isinstance(image, ImageFailure):
            yield image
        else:
            size = image.plan.result_hw
            groups.setdefault(size, []).append(image)
            if len(groups[size]) >= batch_size(size):
                yield groups.pop(size)
        # Compare indices, not counts: batches that fill up behind a single image must not delay it forever.
        while groups:
            size, oldest = next(iter(groups.items()))
            if image.index - oldest[0].index < ahead * batch_size(size) - 1:
                break
            yield groups.pop(size)
    yield from groups.values()


@dataclass
class ReorderBuffer(Generic[Result]):
    """Accept results in any order and yield them in the order of their indices (0, 1, 2, ...)."""

    _waiting: dict[int, Result] = field(default_factory=dict)
    _next: int = 0

    def put(self, index: int, result: Result) -> Iterator[Result]:
        """Add one result; yield all results that are next in order."""
        self._waiting[index] = result
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1
