"""Stream depth and cameras of a video in one frame of reference, window by window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inference.video.shot_detection import is_same_shot, thumbnail
from depth_anything_3.inference.video.window_alignment import aligned_windows
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.bucketing import ReorderBuffer
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.source import ImageInput
from depth_anything_3.model.catalog import models_that
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.prefetch import in_background

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3

__all__ = ["stream_windows"]

_FORWARD = ("use_ray_pose", "ref_view_strategy")


def stream_windows(
    model: DepthAnything3,
    images: Iterable[ImageInput],
    size: int,
    on_failure: Callable[[ImageFailure], None],
    **options: Any,  # Any: `use_ray_pose`, `ref_view_strategy`, and what `InputProcessor.batches` takes
) -> Iterator[Prediction]:
    """Depth and cameras of the frames of a video, as of one scene, in memory for one window; see `aligned_windows`.

    A cut, or another size of picture, begins a frame of reference anew. Decoding and preprocessing, the network, and
    the caller's work go on at the same time.

    Args:
        model: one that predicts cameras.
        images: the frames.
        size: of a window; neighbours share a quarter of it.
        on_failure: called for a frame that cannot be used, at its place in the order.
        options: of the preprocessing and the network.

    Yields:
        A `Prediction` (N = 1) for each frame that can be used.

    Raises:
        UnsupportedError: the model predicts no cameras.
    """
    if not model.card.has_poses:
        raise UnsupportedError(
            f"temporal='window' lays windows of frames on one another by their cameras, which {model.model_name} does "
            f"not predict; choose 'ema', or take {models_that(lambda card: card.has_poses)}"
        )
    forward = {name: options.pop(name) for name in _FORWARD if name in options}
    batches = model.input_processor.batches(images, 1, **options)
    runner = model._runner()

    def infer(views: Sequence[ProcessedBatch]) -> Prediction:
        return runner.scene(_scene(views), **forward)

    computed = _in_order(batches, infer, size)
    if model.device.type != "mps":  # two threads that give Apple's GPU work at a time can end the process
        computed = in_background(computed, ahead=size, threads=model._threads)
    return _report_failures(computed, on_failure)


def _in_order(
    batches: Generator[ProcessedBatch | ImageFailure, None, None],
    infer: Callable[[Sequence[ProcessedBatch]], Prediction],
    size: int,
) -> Generator[Prediction | ImageFailure, None, None]:
    """Predictions, and failures between them where they belong."""
    places: deque[int] = deque()  # of the frames that are on their way
    failures: deque[ImageFailure] = deque()
    in_order: ReorderBuffer[Prediction | ImageFailure] = ReorderBuffer()

    def usable() -> Iterator[ProcessedBatch]:
        for batch in batches:
            failures.extend([batch] if isinstance(batch, ImageFailure) else batch.failures)
            if isinstance(batch, ProcessedBatch) and batch.images:
                places.append(batch.images[0].index)
                yield batch

    def failed() -> Iterator[Prediction | ImageFailure]:
        while failures:
            failure = failures.popleft()
            yield from in_order.put(failure.index, failure)

    with closing(batches):
        for prediction in aligned_windows(usable(), infer, size=size, overlap=max(1, size // 4), is_cut=_is_cut):
            yield from failed()
            yield from in_order.put(places.popleft(), prediction)
        yield from failed()


def _report_failures(
    results: Generator[Prediction | ImageFailure, None, None], on_failure: Callable[[ImageFailure], None]
) -> Iterator[Prediction]:
    with closing(results):
        for result in results:
            if isinstance(result, ImageFailure):
                on_failure(result)
            else:
                yield result


def _scene(views: Sequence[ProcessedBatch]) -> ProcessedBatch:
    """Batches of one picture each as the views of one scene."""
    return replace(
        views[0],
        tensor=torch.cat([view.tensor for view in views]),
        pixels=torch.cat([view.pixels for view in views]),
        images=tuple(view.images[0] for view in views),
        failures=(),
    )


def _is_cut(before: ProcessedBatch, after: ProcessedBatch) -> bool:
    first, second = (view.pixels[0].permute(1, 2, 0).contiguous().cpu().numpy() for view in (before, after))
    return first.shape != second.shape or not is_same_shot(thumbnail(first), thumbnail(second))
