"""Compute the depth of a video: every frame in order, or always the newest one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_3.errors import DA3Error
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inference.video.live import LiveStream
from depth_anything_3.inference.video.options import VideoMode, VideoOptions
from depth_anything_3.inference.video.temporal_smoothing import Temporal
from depth_anything_3.inference.video.windows import stream_windows
from depth_anything_3.inference.views import GivenCameras, ViewOptions, infer_views
from depth_anything_3.inputs.choices import Fidelity, OnError
from depth_anything_3.inputs.failure import ImageFailure, log_failure, raise_failure
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import Frame, FrameSource, VideoInput, open_source
from depth_anything_3.inputs.video.frame import SourceInfo
from depth_anything_3.inputs.video.real_time import RealTimeSource
from depth_anything_3.inputs.yuv_planes import YuvPlanes
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.prefetch import in_background

__all__ = ["stream_video"]

_PREFETCH_FRAMES = 2  # in addition to frames in preparation


def stream_video(
    engine: Engine,
    source: VideoInput,
    options: VideoOptions,
    on_failure: Callable[[ImageFailure], None] = log_failure,
) -> Iterator[tuple[Frame, Prediction]]:
    """Compute the depth of a video's frames, with memory use independent of its length.

    Decoding, preprocessing, the network and the caller's work overlap, each in its own thread. Frames decoded on a GPU
    stay there; others are resized on the CPU, to transfer less data.

    Args:
        engine: the network.
        source: video to read; see `depth_anything_3.inputs.video.open_source`. Closed at the end.
        options: frame selection and processing. `on_error` "raise" raises where the video is damaged, after the frames
            before it; "skip" skips damaged frames. Strategies "auto" and "gpu_decode" also decode videos on the GPU.
        on_failure: with `on_error` "skip", called for each frame that cannot be used.

    Yields:
        The `Frame` (its image as decoded, and its time) and its `Prediction` (N = 1). With mode "live" the iterator is
        a `LiveStream`, whose `stats` report latencies and dropped frames.

    Raises:
        InvalidInputError: an option is not accepted.
        VideoReadError, VideoDecodeError: the source cannot be opened, is damaged or was interrupted.
    """
    preprocess = options.stream.preprocess
    engine.check_output(options.stream.output)
    opened = open_source(
        source,
        raw=options.raw,
        on_error=preprocess.on_error,
        strategy=preprocess.strategy,
        device=engine.device,
        fidelity=preprocess.fidelity,
        **options.selection.kwargs(),
    )
    smooth, output = options.smoother(), options.stream.output
    raising = preprocess.on_error is OnError.RAISE
    try:
        if options.mode is VideoMode.LIVE:
            return _live(engine, opened, smooth, None if raising else on_failure, options.stream)
        frames = _PendingFrames(opened)

        def failed(failure: ImageFailure) -> None:
            (raise_failure if raising else on_failure)(frames.failed(failure))

        # The source raises where the video is damaged; a frame that cannot be prepared must not end the stream.
        # Smoothed at the network's size, then enlarged with the frame, which is in memory.
        stream = replace(options.stream, preprocess=replace(preprocess, on_error=OnError.SKIP), output=OutputOptions())
        if options.temporal is Temporal.WINDOW:
            predictions = stream_windows(engine, frames.images(), options.window, stream, failed)
        else:
            predictions = engine.stream(frames.images(), stream, failed, ready=_frames_ready(opened.info))
        resize = partial(_resized, output, preprocess)
        return _paired(frames, predictions, smooth, resize, raise_failure if raising else on_failure)
    except BaseException:
        opened.close()
        raise


@dataclass
class _PendingFrames:
    """Frames of a source whose depth is being computed, in order."""

    source: FrameSource
    error: Exception | None = None
    _waiting: deque[Frame] = field(default_factory=deque)

    def images(self) -> Iterator[Any]:  # Any: the pipeline takes an `ImageSource` too
        """Yield images, decoded ahead in another thread.

        An error of the source is stored until the end, because earlier frames may still wait for a full batch.
        """

        def decoded() -> Any:
            with self.source:
                yield from self.source

        with closing(in_background(decoded(), ahead=_PREFETCH_FRAMES)) as frames:
            try:
                for frame in frames:
                    self._waiting.append(frame)
                    yield frame.as_input()
            except Exception as error:  # a caller's iterable may raise anything
                self.error = error

    def next(self) -> Frame:
        """Return the frame of the next result."""
        return self._waiting.popleft()

    def failed(self, failure: ImageFailure) -> ImageFailure:
        """Return the failure of the next frame, labelled with the video and the frame's time."""
        frame = self.next()
        return ImageFailure(frame.index, _label(self.source, frame), failure.error)


def _paired(
    frames: _PendingFrames,
    predictions: Iterator[Prediction],
    smooth: Callable[[Prediction], Prediction],
    resize: Callable[[Frame, Prediction], Prediction],
    on_failure: Callable[[ImageFailure], None],
) -> Iterator[tuple[Frame, Prediction]]:
    try:
        for prediction in predictions:
            frame = frames.next()
            smoothed = smooth(_named(prediction, frames.source, frame))
            try:
                resized = resize(frame, smoothed)
            except DA3Error as error:  # the file of the frame is gone
                on_failure(ImageFailure(frame.index, _label(frames.source, frame), error))
            else:
                yield frame, resized
        if frames.error is not None:
            raise frames.error
    finally:
        frames.source.close()


def _frames_ready(info: SourceInfo) -> int:
    """Return the number of frames that can be read without waiting for them; 0 for cameras and iterables."""
    return 0 if info.live or info.fps is None or info.duration is None else int(info.fps * info.duration)


def _resized(output: OutputOptions, preprocess: PreprocessOptions, frame: Frame, prediction: Prediction) -> Prediction:
    if not output.at_input_size:
        return prediction
    image: Any = frame.image if isinstance(frame.data, YuvPlanes) else frame.as_source()  # Any: it takes both
    return output.apply(prediction, [image], preprocess)


def _live(
    engine: Engine,
    source: FrameSource,
    smooth: Callable[[Prediction], Prediction],
    on_failure: Callable[[ImageFailure], None] | None,
    options: StreamOptions,
) -> LiveStream:
    views = ViewOptions(preprocess=options.preprocess, network=options.network)

    def infer(image: Any) -> Prediction:  # Any: likewise
        return infer_views(engine, [image], views, GivenCameras())

    def compute(frame: Frame) -> Prediction:
        smoothed = smooth(_named(infer(frame.as_input()), source, frame))
        return _resized(options.output, options.preprocess, frame, smoothed)

    def report(frame: Frame, error: DA3Error) -> None:
        assert on_failure is not None
        on_failure(ImageFailure(frame.index, _label(source, frame), error))

    engine.check(options.network)
    if source.info.size_hw is not None:  # warm up, so that one-time work does not delay the first frame
        infer(np.zeros((*source.info.size_hw, 3), np.uint8))
        if options.preprocess.fidelity is not Fidelity.EXACT:
            infer(ImageSource("warm-up", YuvPlanes.black(source.info.size_hw)))
    paced = source if source.info.live else RealTimeSource(source)
    return LiveStream(paced, compute, None if on_failure is None else report)


def _named(prediction: Prediction, source: FrameSource, frame: Frame) -> Prediction:
    """Name a prediction after its frame, unless the frame is a file."""
    if isinstance(frame.data, Path):
        return prediction
    return replace(prediction, sources=(_label(source, frame),))


def _label(source: FrameSource, frame: Frame) -> str:
    return f"{source.info.label}, frame {frame.index} at {frame.time:.3f} s"
