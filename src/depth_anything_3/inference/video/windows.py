"""Compute depth and cameras of a video in one frame of reference, in windows of frames that attend to each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.video.shot_detection import is_same_shot, thumbnail
from depth_anything_3.inference.video.window_alignment import aligned_windows
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.bucketing import ReorderBuffer
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.model.catalog import models_that
from depth_anything_3.prediction import Prediction

__all__ = ["stream_windows"]


def stream_windows(
    engine: Engine,
    images: Iterable[ImageInput],
    size: int,
    options: StreamOptions,
    on_failure: Callable[[ImageFailure], None],
) -> Iterator[Prediction]:
    """Compute depth and cameras of the frames of a video as of one scene, with the memory of one window.

    See `aligned_windows`. A cut, or a change of image size, starts a new frame of reference. Decoding and
    preprocessing, the network, and the caller's work overlap.

    Args:
        engine: a network that predicts cameras.
        images: the frames.
        size: number of frames in a window; neighbours share a quarter of it.
        options: options of the preprocessing and the network.
        on_failure: called for a frame that cannot be used, at its place in the order.

    Yields:
        A `Prediction` (N = 1) for each frame that can be used.

    Raises:
        UnsupportedError: the model does not predict cameras.
    """
    if not engine.card.has_poses:
        raise UnsupportedError(
            f"temporal='window' aligns windows of frames by their cameras, which {engine.card.name} does not predict; "
            f"use temporal='ema', or {models_that(lambda card: card.has_poses)}"
        )
    engine.check(options.network)
    batches = engine.input_processor.batches(images, engine.resolved(options.preprocess))

    def infer(views: Sequence[ProcessedBatch]) -> Prediction:
        return engine.views(_scene(views), options.network)

    computed = _in_order(batches, infer, size)
    computed = engine.in_background(computed, ahead=size)
    return _report_failures(computed, on_failure)


def _in_order(
    batches: Generator[ProcessedBatch | ImageFailure, None, None],
    infer: Callable[[Sequence[ProcessedBatch]], Prediction],
    size: int,
) -> Generator[Prediction | ImageFailure, None, None]:
    """Yield predictions and failures in the order of the frames."""
    places: deque[int] = deque()  # of frames being computed
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
    """Join batches of one image each as the views of one scene."""
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
