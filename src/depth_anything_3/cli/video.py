"""Define `da3 video`, which computes depth of a video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.completion import complete_formats
from depth_anything_3.cli.console import finish, load_model, stderr
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.progress import progress
from depth_anything_3.cli.scene import compute_scene
from depth_anything_3.cli.scene_run import SceneRun, clean
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.fields import FRAME_FIELDS
from depth_anything_3.export.registry import format_names, formats_for
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.inference.video.options import VideoOptions
    from depth_anything_3.inputs.video import FrameSelection, SourceInfo
    from depth_anything_3.jobs.report import RunReport
    from depth_anything_3.jobs.video.results import VideoResults

__all__ = ["SelectionFlags", "compute_video_scene", "video"]

_SCENE_FPS = 1.0  # upstream's default


@dataclass(frozen=True)
class SelectionFlags:
    """Selection of frames."""

    panel: ClassVar[str] = "Input"

    fps: Annotated[
        float | None,
        typer.Option(
            help="Maximum frame rate of a video (default: all frames; of a scene: 1), or the frame rate of an image "
            "sequence (default: 24)."
        ),
    ] = None
    every: Annotated[int | None, typer.Option(help="Take every n-th frame.")] = None
    start: Annotated[str, typer.Option(help="Start at this time: 90, 1:30 or 0:01:30.5.", metavar="TIME")] = ""
    end: Annotated[str, typer.Option(help="Stop before this time.", metavar="TIME")] = ""
    raw: Annotated[
        str,
        typer.Option(
            help="Read raw frames from standard input: WxH:FORMAT@FPS, such as 640x480:rgb24@30.", metavar="FORMAT"
        ),
    ] = ""

    def selection(self) -> FrameSelection:
        """Parse the selection.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.inputs.video import FrameSelection, parse_time

        given = (("start", self.start), ("end", self.end))
        start, end = (parse_time(text, name=name) if text else None for name, text in given)
        return FrameSelection(self.fps, self.every, start, end)


@dataclass(frozen=True)
class _VideoResultFlags:
    """Output folder, formats and layout."""

    panel: ClassVar[str] = "Output"

    export_dir: o.ExportDir = Path("debug")
    export_format: Annotated[
        str,
        typer.Option(
            "--export-format",
            "-f",
            metavar="FORMATS",
            autocompletion=complete_formats(("mp4", "ffv1", *(one.name for one in formats_for(FRAME_FIELDS)))),
            help="Output formats, joined with '-': mp4 (coloured depth), ffv1 (16-bit, lossless), or one file per "
            f"frame: {format_names(formats_for(FRAME_FIELDS))}. With --scene: the formats of da3 images.",
        ),
    ] = "mp4"
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Show the frame to the left of its depth (mp4).")
    ] = False
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Write at the size of the input video, not of the network (mp4).")
    ] = False

    def results(self, metric: o.MetricFlags, writers: o.WriterFlags) -> VideoResults:
        """Parse the results to write.

        Raises:
            InvalidInputError: a format or an option is not accepted.
        """
        from depth_anything_3.export.checks import check_export_dir
        from depth_anything_3.jobs.video.results import VideoResults

        check_export_dir(self.export_dir)
        return VideoResults(
            self.export_format, self.side_by_side, self.full_size, metric.conversion(), writers.options()
        )


_BATCHES = o.BatchFlags(max_batch_size=16)


@grouped
def video(
    source: Annotated[
        str,
        typer.Argument(
            help="Video file, folder of images, quoted pattern ('*.png', frame_%05d.png), URL (http://, rtsp://), or "
            "- for standard input.",
            metavar="VIDEO",
        ),
    ],
    *,
    results: _VideoResultFlags,
    model: o.ModelFlags,
    temporal: Annotated[
        str,
        typer.Option(
            help="Temporal smoothing: ema smooths scale and shift; window computes overlapping windows of frames, "
            "which attend to each other.",
            metavar="none|ema|window",
            rich_help_panel="Output",
        ),
    ] = "none",
    frames: SelectionFlags,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    scene: Annotated[
        bool,
        typer.Option(
            "--scene",
            help="Treat the frames as views of one scene, as upstream's command does.",
            rich_help_panel="Views and 3D",
        ),
    ] = False,
    auto_cleanup: o.AutoCleanup = False,
    metric: o.MetricFlags,
    preprocess: Annotated[PreprocessOptions, Omit(("mixed_sizes",))],
    output: o.OutputOptions,
    batches: o.BatchFlags = _BATCHES,
    network: o.NetworkFlags,
    writers: o.WriterFlags,
    backend: o.BackendFlags,
    as_json: o.Json = False,
) -> None:
    """Compute depth of the frames of a video, each on its own, or with --scene as views of one scene."""
    from depth_anything_3.inference.video.options import VideoOptions
    from depth_anything_3.inference.video.temporal_smoothing import Temporal
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.runtime.devices import choose_device

    if not scene:
        backend.refuse("da3 video without --scene")
    stream = o.stream_options(preprocess, network, batches, output)
    options = VideoOptions(
        temporal=Temporal(temporal), raw=frames.raw or None, selection=frames.selection(), stream=stream
    )
    check_device(choose_device(model.device), preprocess)
    if scene:
        for name, given in (
            ("--resume", resume),
            ("--overwrite", overwrite),
            ("--side-by-side", results.side_by_side),
            ("--full-size", results.full_size),
        ):
            if given:
                raise InvalidInputError(f"{name} does not work with --scene; omit one of them")
        formats = "depth_vis-glb" if results.export_format == "mp4" else results.export_format
        run = SceneRun(
            results=o.ResultFlags(results.export_dir, formats),
            writers=writers,
            metric=metric,
            model=model,
            auto_cleanup=auto_cleanup,
            output=output,
            backend=backend,
        )
        report = compute_video_scene(source, frames, preprocess, network, run)
    else:
        wanted = results.results(metric, writers)
        loaded = load_model(model)
        clean(results.export_dir, auto_cleanup=auto_cleanup, resume=resume)
        report = _run_frames(loaded, source, results.export_dir, wanted, options, resume=resume, overwrite=overwrite)
    finish(video, report, as_json, noun="frame")


def _run_frames(
    loaded: DepthAnything3,
    source: str,
    export_dir: Path,
    results: VideoResults,
    options: VideoOptions,
    *,
    resume: bool,
    overwrite: bool,
) -> RunReport:
    from depth_anything_3.jobs.video.job import run_video

    can_resume = source != "-" and "://" not in source
    with progress(None, "opening the video", resumable=can_resume) as advance:

        def begin(info: SourceInfo, total: int | None, done: int) -> None:
            stderr.print(f"{info.label}: decoded by {info.decoder.name} ({info.decoder.reason})", markup=False)
            advance.begin("frames", total, done)

        return run_video(
            loaded.engine,
            source,
            export_dir,
            results,
            options,
            resume=resume,
            overwrite=overwrite,
            report_file=export_dir / "report.json",
            on_begin=begin,
            on_progress=advance,
        )


def compute_video_scene(
    source: str, frames: SelectionFlags, preprocess: PreprocessOptions, network: o.NetworkFlags, run: SceneRun
) -> RunReport:
    """Extract frames of a video, one per second by default, and compute them as views of one scene.

    Raises:
        DA3Error: see `extract_frames` and `compute_scene`.
    """
    from depth_anything_3.inference.views import ViewOptions
    from depth_anything_3.jobs.manifest import Manifest
    from depth_anything_3.jobs.video.frames import extract_frames

    if run.results.export_format:
        run.results.destination(run.writers, run.metric)  # misuse is reported before the video is read
    selection, export_dir = frames.selection(), run.results.export_dir
    if selection.fps is None and selection.every is None:
        selection = replace(selection, fps=_SCENE_FPS)
    clean(export_dir, auto_cleanup=run.auto_cleanup, resume=run.resume)
    paths = extract_frames(
        source, export_dir / "input_images", selection, raw=frames.raw or None, preprocess=preprocess
    )
    Manifest(export_dir).add_results(paths)  # they are not input of later runs
    options = ViewOptions(preprocess=preprocess, network=network.options())
    return compute_scene(paths, replace(run, auto_cleanup=False), options)
