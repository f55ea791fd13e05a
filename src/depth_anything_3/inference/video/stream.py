"""Stream depth of a video: of every frame in order, or always of the newest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.inference.video.live import LiveStream
from depth_anything_3.inference.video.smoothing import ScaleShiftSmoother, Temporal
from depth_anything_3.inference.video.windows import stream_windows
from depth_anything_3.inputs.failure import ImageFailure, OnError, log_failure, raise_failure
from depth_anything_3.inputs.routing.strategy import Strategy
from depth_anything_3.inputs.video import Frame, FrameSource, VideoInput, open_source
from depth_anything_3.inputs.video.real_time import RealTimeSource
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.choice import StringEnum
from depth_anything_3.runtime.prefetch import in_background
from depth_anything_3.runtime.threads import usable_cores

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3

__all__ = ["VideoMode", "stream_video"]

_PREFETCHED_FRAMES = 2  # frames, besides those that are being prepared
_WORKERS = 8
_BATCH = 16  # most frames that "auto" takes: their full-size pictures are held until their depth is there


class VideoMode(StringEnum):
    """`THROUGHPUT` gives every frame in order; `LIVE` always the newest, and drops what comes too fast."""

    THROUGHPUT = "throughput"
    LIVE = "live"


def stream_video(
    model: DepthAnything3,
    source: VideoInput,
    *,
    mode: VideoMode | str = VideoMode.THROUGHPUT,
    temporal: Temporal | str | Callable[[Prediction], Prediction] = Temporal.NONE,
    fps: float | None = None,
    every: int | None = None,
    start: float | None = None,
    end: float | None = None,
    after: float | None = None,
    raw: str | None = None,
    window: int = 16,
    batch_size: int | str = "auto",
    max_batch_size: int = _BATCH,
    num_workers: int | None = None,
    on_error: OnError | str = OnError.RAISE,
    on_failure: Callable[[ImageFailure], None] = log_failure,
    strategy: Strategy | str = Strategy.AUTO,
    **options: Any,  # Any: the other options of `DepthAnything3.stream`
) -> Iterator[tuple[Frame, Prediction]]:
    """Depth of a video's frames, each for itself, in memory that does not grow with its length.

    Decoding, preprocessing, the network and the caller's own work go on at the same time, each in a thread of its
    own. Frames that a GPU has decoded stay there; others are shrunk on the CPU, so that little crosses the bus.

    Args:
        model: the network.
        source, fps, every, start, end, after, raw: what to read and which of its frames; see
            `depth_anything_3.inputs.video.open_source`. Closed at the end.
        mode: "throughput": every frame, in order, computed in batches, decoded ahead. "live": the newest frame, with
            the least delay; a `LiveStream` is returned, whose `stats` tell latencies and what was dropped. A file then
            plays at its own pace.
        temporal: what is done to each prediction in order: "none", "ema" (`ScaleShiftSmoother`: no flicker of scale and
            shift), or a function. "window": frames see each other, and depth and cameras come in one frame of reference
            (`temporal_windows`), with models that predict cameras.
        window: frames that see each other at a time with "window"; a quarter of them are shared with the next.
        batch_size, max_batch_size: frames computed together; see `DepthAnything3.stream`. One with "live".
        num_workers: frames shrunk at a time; None: up to 8, by the cores.
        on_error: "raise" where the video is damaged, after the frames before it; "skip" what is damaged.
        on_failure: with "skip", called for each frame that cannot be used.
        strategy: way to the network's memory; "auto" and "gpu_decode" also decode videos on the GPU where it can.
        options: such as `process_res`, as for `DepthAnything3.stream`.

    Yields:
        The `Frame` (its picture as decoded, its time) and its `Prediction` (N = 1).

    Raises:
        InvalidInputError: an option is not accepted.
        VideoReadError, VideoDecodeError: the source cannot be opened, is damaged or broke off.
    """
    chosen, failing = VideoMode(mode), OnError(on_error)
    smooth = _smoother(temporal, chosen)
    opened = open_source(
        source,
        fps=fps,
        every=every,
        start=start,
        end=end,
        after=after,
        raw=raw,
        on_error=failing,
        strategy=strategy,
        device=model.device,
    )
    try:
        if chosen is VideoMode.LIVE:
            return _live(model, opened, smooth, failing, on_failure, {"strategy": strategy, **options})
        frames = _Tracked(opened)

        def failed(failure: ImageFailure) -> None:
            (raise_failure if failing is OnError.RAISE else on_failure)(frames.failed(failure))

        workers = min(_WORKERS, usable_cores()) if num_workers is None else num_workers
        options |= {"num_workers": workers, "strategy": strategy}
        if temporal == Temporal.WINDOW.value:
            predictions = stream_windows(model, frames.images(), window, failed, **options)
        else:
            options |= {"batch_size": batch_size, "max_batch_size": max_batch_size, "on_error": OnError.SKIP}
            predictions = model.stream(frames.images(), on_failure=failed, **options)
        return _paired(frames, predictions, smooth)
    except BaseException:
        opened.close()
        raise


@dataclass
class _Tracked:
    """Frames of a source that are on their way through the network, in order."""

    source: FrameSource
    error: Exception | None = None
    _waiting: deque[Frame] = field(default_factory=deque)

    def images(self) -> Iterator[Any]:  # Any: what `Frame.image` may be
        """Pictures as the network's input takes them, decoded ahead in a thread of their own.

        What the source raises is kept for the end: frames before it may still wait for a batch to fill.
        """

        def decoded() -> Any:
            with self.source:
                yield from self.source

        with closing(in_background(decoded(), ahead=_PREFETCHED_FRAMES)) as frames:
            try:
                for frame in frames:
                    self._waiting.append(frame)
                    yield frame.image
            except Exception as error:  # a caller's iterable may raise anything
                self.error = error

    def next(self) -> Frame:
        """The frame whose result is there."""
        return self._waiting.popleft()

    def failed(self, failure: ImageFailure) -> ImageFailure:
        """Named by the video and the frame's time."""
        frame = self.next()
        return ImageFailure(frame.index, _label(self.source, frame), failure.error)


def _paired(
    frames: _Tracked, predictions: Iterator[Prediction], smooth: Callable[[Prediction], Prediction]
) -> Iterator[tuple[Frame, Prediction]]:
    try:
        for prediction in predictions:
            frame = frames.next()
            if not isinstance(frame.image, Path):
                prediction.sources = (_label(frames.source, frame),)
            yield frame, smooth(prediction)
        if frames.error is not None:
            raise frames.error
    finally:
        frames.source.close()


def _live(
    model: DepthAnything3,
    source: FrameSource,
    smooth: Callable[[Prediction], Prediction],
    on_error: OnError,
    on_failure: Callable[[ImageFailure], None],
    options: dict[str, Any],
) -> LiveStream:
    def compute(frame: Frame) -> Prediction:
        prediction = model.inference([frame.image], **options)
        if not isinstance(frame.image, Path):
            prediction.sources = (_label(source, frame),)
        return smooth(prediction)

    def tell(frame: Frame, error: DA3Error) -> None:
        on_failure(ImageFailure(frame.index, _label(source, frame), error))

    if source.info.size_hw is not None:  # what is done only once, like compiling, must not delay the first frame
        model.inference([np.zeros((*source.info.size_hw, 3), np.uint8)], **options)
    paced = source if source.info.live else RealTimeSource(source)
    return LiveStream(paced, compute, None if on_error is OnError.RAISE else tell)


def _label(source: FrameSource, frame: Frame) -> str:
    """How a frame is named."""
    return f"{source.info.label}, frame {frame.index} at {frame.time:.3f} s"


def _smoother(
    temporal: Temporal | str | Callable[[Prediction], Prediction], mode: VideoMode
) -> Callable[[Prediction], Prediction]:
    if callable(temporal):
        return temporal
    kind = Temporal(temporal)
    if kind is Temporal.EMA:
        return ScaleShiftSmoother()
    if kind is Temporal.WINDOW and mode is VideoMode.LIVE:
        raise UnsupportedError("temporal='window' waits for frames to come, which live depth cannot; choose 'ema'")
    return lambda prediction: prediction
