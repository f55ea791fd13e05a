"""Compute depth of a video, and write it as videos or as one file per frame."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from depth_anything_3.errors import VideoReadError
from depth_anything_3.export import AvailableFields, check_formats
from depth_anything_3.export.naming import video_name
from depth_anything_3.export.video_file import frames_in, part_files
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inference.video.options import VideoOptions
from depth_anything_3.inference.video.stream import stream_video
from depth_anything_3.inference.video.temporal_smoothing import Temporal
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video import Frame, FrameSelection, FrameSource, SourceInfo, VideoInput, open_source
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile, differences
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress, reported
from depth_anything_3.jobs.settings import (
    color_settings,
    metric_settings,
    network_settings,
    selection_settings,
    writer_settings,
)
from depth_anything_3.jobs.video.results import ResultsWriter, VideoFiles, VideoResults, with_range
from depth_anything_3.jobs.video.resume_log import RunState
from depth_anything_3.prediction import Prediction

__all__ = ["run_video"]

logger = logging.getLogger(__name__)

_MIN_SAMPLES, _MAX_SAMPLES = 4, 32  # frames that the colour range is taken from: a tenth of the video, within these
_MAX_DECODED_TWICE = 1000  # frames; only keyframes of longer videos are sampled


def run_video(
    engine: Engine,
    source: VideoInput,
    export_dir: str | os.PathLike[str],
    results: VideoResults,
    options: VideoOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report_file: Path | None = None,
    on_begin: Callable[[SourceInfo, int | None, int], None] = lambda info, total, done: None,
    on_progress: OnProgress = no_progress,
) -> RunReport:
    """Compute depth of the frames of a video, and write results while the network computes the next frames.

    Files are named after the source: `NAME_depth.mp4`, `NAME_depth.mkv`, `npz/NAME_000000.npz` and so on, and
    `NAME_frames.csv` with the time of each frame. A video gets its name when it is complete. Until then it consists of
    parts (`NAME_depth.part001.mp4`), which can be played even if the process was killed. The whole video has one colour
    range, that of evenly spaced frames that are computed first. If the source cannot be read twice (pipes, cameras,
    streams), it is that of the first frames.

    On Ctrl-C, results that have been computed are written first. If the video is damaged or the stream drops, the video
    so far is finalised and the report records why.

    Args:
        engine: the network.
        source: as for `open_source`; `resume` needs a file or an image sequence.
        export_dir: output folder; created if missing.
        results: formats and layout.
        options: selection of frames, preprocessing, network and temporal smoothing.
        resume: continue a run that was stopped or killed. A video that has changed since is computed anew.
        overwrite: with `resume`, compute the video anew if the first run had other settings.
        report_file: JSON file for the report, written at the end of the run, also after an error or Ctrl-C.
        on_begin: called with the source, the expected number of frames (None: unknown) and the number already done.
        on_progress: called once for each frame that is written, in the writer's thread.

    Raises:
        InvalidInputError: an option is not accepted. With `resume` and without `overwrite`, the first run had other
            settings; the message names these. Or the manifest is damaged.
        UnsupportedError: the model does not predict what a format or metric depth needs.
        VideoReadError: the video cannot be opened, or no frame can be read.
        ExportError: a file cannot be written.
    """
    if results.metric is not None:
        results.metric.check(engine.card)
    if results.frame_formats:
        metric = results.metric is not None
        available = AvailableFields.expected(engine.card, views=1, intrinsics=metric, paths=False, metric=metric)
        check_formats(results.frame_formats, available, results.options)
    target, report = Path(export_dir), RunReport.of(engine, export_dir)
    settings = _settings(engine, results, options)
    files = VideoFiles(results, target, video_name(source), Manifest(target), settings, _source_file(source))
    state = _resumed(files, overwrite=overwrite) if resume else None
    if state is not None and state.complete:
        report.add_skipped(files.source.path, files.all(len(state.times)))
        report.skipped = len(state.times)
        return report
    if state is None:
        state = RunState()
        for part in [files.log, *(part for file in files.videos.values() for part in part_files(file))]:
            part.unlink(missing_ok=True)
    report.skipped = len(state.times)
    opened = _open(engine, source, options, after=state.times[-1] if state.times else None)
    on_begin(opened.info, _expected(opened.info, options.selection), report.skipped)
    engine.input_processor.warm_up()
    if results.needs_range and not state.times:
        samples = _samples(engine, source, opened.info, results, options)
        state = with_range(state, samples, options.stream.output) if samples else state
    with reported(report, report_file):
        writing = ResultsWriter(files, state, report, on_progress, options.stream)
        _compute(engine, opened, writing, options)
    return report


def _open(engine: Engine, source: VideoInput, options: VideoOptions, *, after: float | None) -> FrameSource:
    preprocess = options.stream.preprocess
    return open_source(
        source,
        raw=options.raw,
        on_error=preprocess.on_error,
        strategy=preprocess.strategy,
        device=engine.device,
        fidelity=preprocess.fidelity,
        **replace(options.selection, after=after).kwargs(),
    )


def _compute(engine: Engine, opened: FrameSource, writing: ResultsWriter, options: VideoOptions) -> None:
    """Compute and write results until the source ends, is damaged, or Ctrl-C is pressed."""
    writer, broken = BackgroundWriter(), None
    try:
        # The writer's thread enlarges.
        at_network_size = replace(options, stream=replace(options.stream, output=OutputOptions()))
        with closing(stream_video(engine, opened, at_network_size)) as pairs, writer:  # type: ignore[type-var]
            try:
                for frame, prediction in pairs:
                    writer.put(partial(writing.add, frame, prediction))
            except VideoReadError as error:
                broken = error
            except KeyboardInterrupt:
                if not opened.info.live:  # Ctrl-C is how a camera's video ends
                    raise
        writing.flush()
        if broken is not None and not writing.report.images + writing.report.skipped:
            raise broken
    except BaseException:
        writing.close()
        for part in (part for file in writing.files.videos.values() for part in part_files(file)[-1:]):
            logger.warning("%s holds the video up to where it was stopped; pass resume=True to continue", part)
        raise
    if broken is not None:
        writing.report.add_failure(opened.info.label, broken)
    writing.finish()
    writing.report.add_video(
        opened.info, writing.files.all(writing.report.images + writing.report.skipped), tuple(writing.warnings)
    )


def _settings(engine: Engine, results: VideoResults, options: VideoOptions) -> Settings:
    """Collect what the results depend on besides the source."""
    return {
        **network_settings(engine, options.stream.preprocess, options.stream.network),
        **options.stream.output.settings(),
        "export_format": results.formats,
        "side_by_side": results.side_by_side,
        "full_size": results.full_size,
        **writer_settings(results.frame_formats, results.options),
        **(color_settings(results.colors) if "mp4" in results.videos else {}),
        **metric_settings(results.metric),
        "temporal": options.temporal.value if isinstance(options.temporal, Temporal) else "function",
        "window": options.window,
        "raw": options.raw,
        **selection_settings(options.selection),
    }


def _source_file(source: VideoInput) -> SourceFile:
    """Read the identity of a video; that of an image sequence is made of all files in its folder."""
    if not isinstance(source, (str, os.PathLike)) or "://" in os.fsdecode(source):
        return SourceFile(os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__)
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    if path.is_file() or not folder.is_dir():
        return SourceFile.of(path)
    files = [SourceFile.of(one) for one in folder.iterdir() if one.is_file()]
    total, latest = sum(one.bytes or 0 for one in files), max((one.modified for one in files), default="")
    return SourceFile(os.path.abspath(path), total, f"{len(files)} files, {latest}")


def _resumed(files: VideoFiles, *, overwrite: bool) -> RunState | None:
    """Find the state to resume from, and remove parts without a readable frame; None to start anew.

    Raises:
        InvalidInputError: the first run had other settings, and `overwrite` is False.
    """
    state, record = RunState.read(files.log), files.manifest.record("video", files.name)
    if state is None or record is None or not files.source.is_same(record.sources[0]):
        return None
    if (earlier := files.manifest.settings(record)) != files.settings:
        if overwrite:
            return None
        raise differences(files.folder, {files.source.path: earlier}, files.settings)
    if state.complete and files.manifest.is_complete(record):
        return state
    count = len(state.times)
    for file in files.videos.values():
        parts = part_files(file)
        if not parts:
            if file.exists():  # killed after the parts were joined
                continue
            return None
        readable = frames_in(parts[-1])
        if not readable:
            parts[-1].unlink()
        count = min(count, state.resumed_at + readable)
    return state.done(count)


def _samples(
    engine: Engine, source: VideoInput, info: SourceInfo, results: VideoResults, options: VideoOptions
) -> list[Prediction]:
    """Compute depth of evenly spaced frames of a video; of none if the source cannot be read twice."""
    selection = options.selection
    expected = _expected(info, selection)
    if not isinstance(source, (str, os.PathLike)) or info.live or not expected or "://" in os.fsdecode(source):
        return []
    count = min(expected, max(_MIN_SAMPLES, min(_MAX_SAMPLES, expected // 10)))
    begin = selection.start or 0.0
    length = min(selection.end or math.inf, info.duration or 0.0) - begin
    if info.decoder.name != "images" and length * (info.fps or 0.0) <= _MAX_DECODED_TWICE:
        passes = [FrameSelection(start=begin, end=begin + length, fps=count / length)]
        max_frames = count
    else:  # the next keyframe: any other frame needs the frames since its keyframe
        starts = [begin + length * (index + 0.5) / count for index in range(count)]
        passes = [replace(selection, start=start, keyframes=True) for start in starts]
        max_frames = 1

    preprocess = replace(options.stream.preprocess, on_error=OnError.SKIP)

    def frames() -> Iterator[Frame]:
        last_time: float | None = None
        for one in passes:
            with (
                suppress(VideoReadError),
                open_source(source, raw=options.raw, fidelity=preprocess.fidelity, **one.kwargs()) as opened,
            ):  # the run itself will report damage
                for frame in islice(opened, max_frames):
                    if frame.time != last_time:  # two starts can have the same next keyframe
                        yield frame
                    last_time = frame.time

    preprocess = replace(options.stream.preprocess, on_error=OnError.SKIP)
    quiet = VideoOptions(stream=replace(options.stream, preprocess=preprocess, output=OutputOptions()))
    predictions = [prediction for _, prediction in stream_video(engine, frames(), quiet, lambda failure: None)]
    return [results.metric.apply(one)[0] if results.metric else one for one in predictions]


def _expected(info: SourceInfo, selection: FrameSelection) -> int | None:
    """Estimate how many frames will be selected."""
    if info.duration is None or info.fps is None:
        return None
    begin, end = selection.start or 0.0, min(selection.end or math.inf, info.duration)
    length = max(0.0, end - begin)
    rate = info.fps
    if selection.fps and info.decoder.name != "images":
        rate = min(rate, selection.fps)
    return math.ceil(length * rate / (selection.every or 1))
