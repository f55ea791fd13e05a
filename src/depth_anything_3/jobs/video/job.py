"""Compute a video's depth and write it: as a video to watch or to measure with, or as a file for each frame."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.export import AvailableFields, check_formats
from depth_anything_3.export.video_file import frames_in, part_files
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.video.options import VideoOptions
from depth_anything_3.inference.video.stream import stream_video
from depth_anything_3.inference.video.temporal_smoothing import Temporal
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video import Frame, FrameSelection, FrameSource, SourceInfo, VideoInput, open_source
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.video.results import VIDEO_SUFFIXES, ResultsWriter, VideoResults, with_range
from depth_anything_3.jobs.video.resume_log import RunState
from depth_anything_3.prediction import Prediction

__all__ = ["run_video"]

logger = logging.getLogger(__name__)

_MAX_SAMPLES = 32  # frames that the range of colours is taken from; of short videos a tenth, but at least
_MIN_SAMPLES = 4
_MAX_DECODED_TWICE = 1000  # frames; of longer videos only keyframes are sampled


def run_video(
    engine: Engine,
    source: VideoInput,
    export_dir: str | os.PathLike[str],
    results: VideoResults,
    options: VideoOptions,
    *,
    resume: bool = False,
    on_begin: Callable[[SourceInfo, int | None, int], None] = lambda info, total, done: None,
    on_progress: Callable[[], None] = lambda: None,
) -> RunReport:
    """Compute the depth of a video's frames; results are written as they are ready, while the network continues.

    Files are named after the video: `NAME_depth.mp4`, `NAME_depth.mkv`, `npz/NAME_000000.npz` and so on, and
    `NAME_frames.csv` with the time of each frame. A video is renamed to its name when it is complete; until then there
    are parts (`NAME_depth.part001.mp4`) that play, also after a kill. The colour range is that of some frames, evenly
    spread, that are computed first, so that it stays the same; for what cannot be read twice (pipes, cameras, streams)
    it is that of the first frames.

    Ctrl-C ends it when what has been computed is written. If the video is damaged or the stream drops, the video so far
    is finalised and the report records why.

    Args:
        engine: the network.
        source: see `open_source`; resuming and reading ahead need a file or an image sequence.
        export_dir: folder to write to; made if missing.
        results: what to write.
        options: which frames, and how they are computed.
        resume: continue a run that was stopped or killed, with the same arguments.
        on_begin: called with the source, the number of frames to expect (None: unknown) and how many are done already.
        on_progress: called once for each frame that is written, in the thread that writes.

    Raises:
        InvalidInputError: an option is not accepted, or `resume` with other options than the first run's.
        UnsupportedError: the model does not predict what a format or metric depth needs.
        VideoReadError: the video cannot be opened, or gives no frame at all.
        ExportError: a file cannot be written.
    """
    if results.metric is not None:
        results.metric.check(engine.card)
    if results.frame_formats:
        available = AvailableFields.expected(engine.card, views=1, intrinsics=results.metric is not None, paths=False)
        check_formats(results.frame_formats, available)
    name, target, report = _name(source), Path(export_dir), RunReport.of(engine, export_dir)
    files = {one: target / f"{name}_depth{VIDEO_SUFFIXES[one]}" for one in results.videos}
    log_file = target / f"{name}_frames.csv"
    state = RunState(_settings(engine, source, results, options))
    if resume:
        state = _resumed(state, log_file, files)
        if state.complete:
            report.skipped = len(state.times)
            return report
    else:
        for part in [log_file, *(part for file in files.values() for part in part_files(file))]:
            part.unlink(missing_ok=True)
    report.skipped = len(state.times)
    opened = _open(engine, source, options, after=state.times[-1] if state.times else None)
    on_begin(opened.info, _expected(opened.info, options.selection), report.skipped)
    engine.input_processor.warm_up()
    if files and not state.times:
        samples = _samples(engine, source, opened.info, results, options)
        state = with_range(state, samples) if samples else state
    began = time.perf_counter()
    try:
        writing = ResultsWriter(results, target, name, files, log_file, state, report, on_progress)
        _compute(engine, opened, writing, options)
    finally:
        report.wall_seconds = time.perf_counter() - began
    return report


def _open(engine: Engine, source: VideoInput, options: VideoOptions, *, after: float | None) -> FrameSource:
    preprocess = options.stream.preprocess
    return open_source(
        source,
        raw=options.raw,
        on_error=preprocess.on_error,
        strategy=preprocess.strategy,
        device=engine.device,
        **replace(options.selection, after=after).kwargs(),
    )


def _compute(engine: Engine, opened: FrameSource, writing: ResultsWriter, options: VideoOptions) -> None:
    """Write results up to the end, the damage, or Ctrl-C."""
    writer, broken = BackgroundWriter(), None
    try:
        with closing(stream_video(engine, opened, options)) as pairs, writer:  # type: ignore[type-var]
            try:
                for frame, prediction in pairs:
                    writer.put(partial(writing.add, frame, prediction))
            except VideoReadError as error:
                broken = error
            except KeyboardInterrupt:
                if not opened.info.live:  # the only end that a camera has
                    raise
        writing.flush()
        if broken is not None and not writing.report.images + writing.report.skipped:
            raise broken
    except BaseException:
        writing.close()
        for part in (part for file in writing.files.values() for part in part_files(file)[-1:]):
            logger.warning("%s plays, up to where it was stopped; resume=True continues", part)
        raise
    if broken is not None:
        writing.report.failures.append({"image": opened.info.label, "error": str(broken)})
    writing.finish()


def _name(source: VideoInput) -> str:
    """What the results of a source are called."""
    if not isinstance(source, (str, os.PathLike)):
        return "camera" if isinstance(source, int) else "video"
    text = os.fsdecode(source)
    if text == "-":
        return "stdin"
    last = re.split(r"[/\\]", text.partition("?")[0].rstrip("/\\"))[-1]
    stem = Path(re.sub(r"%0?\d*d|[*?]", "", last)).stem.rstrip("_-.")
    return re.sub(r"[^\w.-]+", "_", stem) or Path(text).parent.name or "video"


def _settings(engine: Engine, source: VideoInput, results: VideoResults, options: VideoOptions) -> dict[str, Any]:
    """What the results depend on, as plain JSON values."""
    name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__
    size = os.path.getsize(name) if os.path.isfile(name) else None
    temporal = options.temporal.value if isinstance(options.temporal, Temporal) else "function"
    return {
        "source": name,
        "bytes": size,
        "model": engine.card.name,
        **{key: str(value) for key, value in results.settings().items()},
        **options.stream.preprocess.result_settings(),
        "use_ray_pose": options.stream.network.use_ray_pose,
        "ref_view_strategy": options.stream.network.ref_view_strategy.value,
        "temporal": temporal,
        "window": options.window,
        "raw": options.raw,
        **{key: value for key, value in options.selection.kwargs().items() if key != "after"},
    }


def _resumed(wanted: RunState, log_file: Path, files: Mapping[str, Path]) -> RunState:
    """Where to go on; parts without a readable frame are removed."""
    state = RunState.read(log_file)
    if state is None:
        return wanted
    changed = [
        key for key in {**state.settings, **wanted.settings} if state.settings.get(key) != wanted.settings.get(key)
    ]
    if changed:
        raise InvalidInputError(
            f"{log_file}: that run had other settings ({', '.join(sorted(changed))}); give the same ones, "
            "or begin anew without resume"
        )
    if state.complete and all(file.exists() for file in files.values()):
        return state
    count = len(state.times)
    for file in files.values():
        parts = part_files(file)
        if not parts:
            if file.exists():  # joined, and killed before that was noted
                continue
            return wanted
        readable = frames_in(parts[-1])
        if not readable:
            parts[-1].unlink()
        count = min(count, state.resumed_at + readable)
    return state.done(count)


def _samples(
    engine: Engine, source: VideoInput, info: SourceInfo, results: VideoResults, options: VideoOptions
) -> list[Prediction]:
    """Depth of frames evenly spread over a video; none for a source that cannot be read twice."""
    selection = options.selection
    expected = _expected(info, selection)
    if not isinstance(source, (str, os.PathLike)) or info.live or not expected or "://" in os.fsdecode(source):
        return []
    count = min(expected, max(_MIN_SAMPLES, min(_MAX_SAMPLES, expected // 10)))
    begin = selection.start or 0.0
    length = min(selection.end or math.inf, info.duration or 0.0) - begin
    if info.decoder.name != "images" and length * (info.fps or 0.0) <= _MAX_DECODED_TWICE:
        passes = [FrameSelection(start=begin, end=begin + length, fps=count / length)]
        most = count
    else:  # the next keyframe: whatever lies between it and a wished time would have to be decoded first
        places = [begin + length * (place + 0.5) / count for place in range(count)]
        passes = [replace(selection, start=place, keyframes=True) for place in places]
        most = 1

    def frames() -> Iterator[Frame]:
        reached: float | None = None
        for one in passes:
            with (
                suppress(VideoReadError),
                open_source(source, raw=options.raw, **one.kwargs()) as opened,
            ):  # the run itself will report damage
                for frame in islice(opened, most):
                    if frame.time != reached:  # else there is no keyframe between the last place and this one
                        yield frame
                    reached = frame.time

    preprocess = replace(options.stream.preprocess, on_error=OnError.SKIP)
    quiet = VideoOptions(stream=replace(options.stream, preprocess=preprocess))
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
