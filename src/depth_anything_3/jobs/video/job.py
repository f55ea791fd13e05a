"""A video in, its depth on disk out: as a video for the eye or for machines, or a file for each frame."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depth_anything_3.errors import InvalidInputError, VideoReadError
from depth_anything_3.export import AvailableFields, check_formats
from depth_anything_3.export.image_file import write_image
from depth_anything_3.export.video_file import frames_in, part_files
from depth_anything_3.inputs.failure import OnError
from depth_anything_3.inputs.video import Frame, FrameSource, SourceInfo, VideoInput, open_source
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.images import RunReport
from depth_anything_3.jobs.video.frames import pixels_of
from depth_anything_3.jobs.video.results import VIDEO_SUFFIXES, ResultsWriter, VideoResults, with_range
from depth_anything_3.jobs.video.resume_log import RunState
from depth_anything_3.prediction import Prediction

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3

__all__ = ["extract_frames", "run_video"]

logger = logging.getLogger(__name__)

_SAMPLES = 32  # frames that the range of colours is taken from; of short videos a tenth, but at least
_FEWEST_SAMPLES = 4
_LOOKED_THROUGH = 1000  # most frames of a video that is decoded once more for them; of longer ones keyframes are taken


def run_video(
    model: DepthAnything3,
    source: VideoInput,
    export_dir: str | os.PathLike[str],
    results: VideoResults | None = None,
    *,
    resume: bool = False,
    selection: Mapping[str, Any] | None = None,
    on_begin: Callable[[SourceInfo, int | None, int], None] = lambda info, total, done: None,
    on_progress: Callable[[], None] = lambda: None,
    **options: Any,  # Any: the options of `stream_video`
) -> RunReport:
    """Depth of a video's frames, written as they are ready, while the network goes on.

    Files are named after the video: `NAME_depth.mp4`, `NAME_depth.mkv`, `npz/NAME_000000.npz` and so on, and
    `NAME_frames.csv` with the time of each frame. A video appears whole at the end; until then there are parts
    (`NAME_depth.part001.mp4`) that play, also after a kill. The colours' range is that of some frames, evenly spread,
    that are computed beforehand, so that it stays the same; of what cannot be looked through (pipes, cameras, streams)
    that of the first frames.

    Ctrl-C ends it when what has been computed is written. So does damage, or a stream that breaks off: the video of
    what came before is finished, and the report tells.

    Args:
        model: the network.
        source: see `open_source`; resuming and looking beforehand needs a file or an image sequence.
        export_dir: folder to write to; made if missing.
        results: what to write.
        resume: go on with a run that was stopped or killed, given as it was then.
        selection: fps, every, start, end, raw, as for `stream_video`.
        on_begin: told what the source is, how many frames to expect (None: not known) and how many are done already.
        on_progress: called once for each frame that is written, in the thread that writes.
        options: passed on to `stream_video`.

    Raises:
        InvalidInputError: an option is not accepted, or `resume` with other options than then.
        UnsupportedError: the model does not predict what a format or metres need.
        VideoReadError: the video cannot be opened, or gives no frame at all.
        ExportError: a file cannot be written.
    """
    wanted = results or VideoResults()
    if wanted.metres is not None:
        wanted.metres.check(model.card)
    if wanted.frame_formats:
        available = AvailableFields.expected(model.card, views=1, intrinsics=wanted.metres is not None, paths=False)
        check_formats(wanted.frame_formats, available)
    chosen = dict(selection or {})
    name, target, report = _name(source), Path(export_dir), RunReport.of(model, export_dir)
    files = {one: target / f"{name}_depth{VIDEO_SUFFIXES[one]}" for one in wanted.videos}
    log_file = target / f"{name}_frames.csv"
    state = RunState(_settings(model, source, wanted, chosen, options))
    if resume:
        state = _resumed(state, log_file, files)
        if state.complete:
            report.skipped = len(state.times)
            return report
    else:
        for part in [log_file, *(part for file in files.values() for part in part_files(file))]:
            part.unlink(missing_ok=True)
    report.skipped = len(state.times)
    after = state.times[-1] if state.times else None
    opening = {"on_error": options.get("on_error", OnError.RAISE), "strategy": options.get("strategy", "auto")}
    opened = open_source(source, after=after, device=model.device, **opening, **chosen)
    on_begin(opened.info, _expected(opened.info, chosen), report.skipped)
    model.input_processor.warm_up()
    if files and not state.times:
        samples = _samples(model, source, opened.info, wanted, chosen, options)
        state = with_range(state, samples) if samples else state
    began = time.perf_counter()
    try:
        _compute(
            model, opened, ResultsWriter(wanted, target, name, files, log_file, state, report, on_progress), options
        )
    finally:
        report.wall_seconds = time.perf_counter() - began
    return report


def _compute(model: DepthAnything3, opened: FrameSource, writing: ResultsWriter, options: Mapping[str, Any]) -> None:
    """Write what comes, to the end, the damage, or Ctrl-C."""
    writer, broken = BackgroundWriter(), None
    try:
        with closing(model.stream_video(opened, **options)) as pairs, writer:  # type: ignore[type-var]
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
            logger.warning("%s plays, up to where it was stopped; resume=True goes on", part)
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


def _settings(
    model: DepthAnything3,
    source: VideoInput,
    results: VideoResults,
    selection: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What the results depend on, as JSON has it."""
    name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__
    size = os.path.getsize(name) if os.path.isfile(name) else None
    output = {key: str(value) for key, value in results.settings().items()}
    matter = ("process_res", "process_res_method", "temporal")
    network = {key: str(options[key]) for key in matter if key in options}
    chosen = {key: value for key, value in selection.items() if value is not None}
    return {"source": name, "bytes": size, "model": model.model_name, **output, **network, **chosen}


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
    model: DepthAnything3,
    source: VideoInput,
    info: SourceInfo,
    results: VideoResults,
    selection: Mapping[str, Any],
    options: Mapping[str, Any],
) -> list[Prediction]:
    """Depth of frames evenly spread over a video; of what cannot be looked through beforehand, none."""
    expected = _expected(info, selection)
    if not isinstance(source, (str, os.PathLike)) or info.live or not expected or "://" in os.fsdecode(source):
        return []
    count = min(expected, max(_FEWEST_SAMPLES, min(_SAMPLES, expected // 10)))
    begin = selection.get("start") or 0.0
    length = min(selection.get("end") or math.inf, info.duration or 0.0) - begin
    if info.decoder.name != "images" and length * (info.fps or 0.0) <= _LOOKED_THROUGH:
        passes: list[dict[str, Any]] = [{"start": begin, "end": begin + length, "fps": count / length}]
        most = count
    else:  # the next keyframe: whatever lies between it and a wished time would have to be decoded first
        places = [begin + length * (place + 0.5) / count for place in range(count)]
        passes = [{**selection, "start": place, "keyframes": True} for place in places]
        most = 1

    def frames() -> Iterator[Frame]:
        reached: float | None = None
        for one in passes:
            with suppress(VideoReadError), open_source(source, **one) as opened:  # the run itself will tell of damage
                for frame in islice(opened, most):
                    if frame.time != reached:  # else there is no keyframe between the last place and this one
                        yield frame
                    reached = frame.time

    quiet = {**options, "temporal": "none", "on_error": OnError.SKIP, "on_failure": lambda failure: None}
    predictions = [prediction for _, prediction in model.stream_video(frames(), **quiet)]
    return [results.metres.of(one)[0] if results.metres else one for one in predictions]


def _expected(info: SourceInfo, selection: Mapping[str, Any]) -> int | None:
    """How many frames will be taken, about."""
    if info.duration is None or info.fps is None:
        return None
    begin, end = selection.get("start") or 0.0, min(selection.get("end") or math.inf, info.duration)
    length = max(0.0, end - begin)
    rate = info.fps
    if selection.get("fps") and info.decoder.name != "images":
        rate = min(rate, selection["fps"])
    return math.ceil(length * rate / (selection.get("every") or 1))


def extract_frames(source: VideoInput, folder: Path, **selection: Any) -> list[Path]:  # Any: as for `open_source`
    """Write frames of a video as PNGs, `000000.png` and on, to be views of one scene.

    Args:
        source, selection: what to read, and which frames; see `open_source`.
        folder: made if missing; frames of an earlier video in it are removed.

    Raises:
        VideoReadError: the video cannot be opened, is damaged, or has no such frames.
        ExportError: a file cannot be written.
    """
    for old in folder.glob("[0-9]*.png"):
        old.unlink()
    paths: list[Path] = []
    with open_source(source, **selection) as opened:
        for frame in opened:
            paths.append(write_image(folder / f"{len(paths):06d}.png", pixels_of(frame), "PNG"))
    if not paths:
        raise VideoReadError(f"{opened.info.label}: no frames between these times")
    return paths
