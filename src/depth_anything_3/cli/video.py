"""`da3 video`: a video in, its depth as a video or a file for each frame out; or its frames as views of one scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, stderr
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.fields import FRAME_FIELDS
from depth_anything_3.export.registry import format_names, formats_for

if TYPE_CHECKING:
    from depth_anything_3.inputs.video import SourceInfo

__all__ = ["video"]

_SCENE_FPS = 1.0  # upstream's


def video(
    source: Annotated[
        str,
        typer.Argument(
            help="Video file, folder of images, pattern ('*.png', frame_%05d.png), address (http://, rtsp://), or - "
            "for standard input.",
            metavar="VIDEO",
        ),
    ],
    model_dir: o.ModelDir = "depth-anything/DA3-BASE",
    export_dir: o.ExportDir = Path("debug"),
    export_format: Annotated[
        str,
        typer.Option(
            help="Names joined with '-': mp4 (depth in colours), ffv1 (16 bits, lossless), or a file for each frame: "
            f"{format_names(formats_for(FRAME_FIELDS))}. With --scene as for da3 images."
        ),
    ] = "mp4",
    fps: Annotated[
        float | None,
        typer.Option(help="At most so many frames a second; of image sequences, their rate (24). With --scene: 1."),
    ] = None,
    every: Annotated[int | None, typer.Option(help="Each n-th frame only.")] = None,
    start: Annotated[str, typer.Option(help="Begin at this time: 90, 1:30 or 0:01:30.5.")] = "",
    end: Annotated[str, typer.Option(help="End before this time.")] = "",
    raw: Annotated[
        str, typer.Option(help="Frames on standard input without a container: WxH:FORMAT@FPS, as 640x480:rgb24@30.")
    ] = "",
    side_by_side: Annotated[bool, typer.Option("--side-by-side", help="Of mp4: the frame left of its depth.")] = False,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Of mp4: as large as the video, not as the network's input.")
    ] = False,
    temporal: Annotated[
        str, typer.Option(help="Against flicker: none, ema (a scale and shift for each frame), window.")
    ] = "none",
    scene: Annotated[
        bool, typer.Option("--scene", help="The frames are views of ONE scene and see each other, as upstream has it.")
    ] = False,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    process_res: o.ProcessRes = 504,
    process_res_method: o.Method = "upper_bound_resize",
    batch_size: o.BatchSize = "auto",
    max_batch_size: o.MaxBatchSize = 16,
    num_workers: o.Workers = 8,
    on_error: Annotated[
        str, typer.Option(help="raise: end where the video is damaged, with what came before; skip: go on behind it.")
    ] = "raise",
    strategy: o.Strategy = "auto",
    metric: o.Metric = False,
    focal: o.Focal = None,
    fov: o.Fov = None,
    compiled: o.Compile = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")] = False,
    as_json: o.Json = False,
) -> None:
    """Write the depth of each frame of a video, or with --scene of some frames as views of one scene."""
    from depth_anything_3.api import choose_device
    from depth_anything_3.export import parse_formats
    from depth_anything_3.inference.batch_limit import parse_batch_size
    from depth_anything_3.inference.video.smoothing import Temporal
    from depth_anything_3.inputs.video import parse_time
    from depth_anything_3.jobs.images import check_options, run_scene
    from depth_anything_3.jobs.video.job import extract_frames, run_video
    from depth_anything_3.jobs.video.results import VideoResults

    options: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "num_workers": num_workers,
        "on_error": on_error,
        "strategy": strategy,
    }
    batches: dict[str, Any] = {"batch_size": parse_batch_size(batch_size, 1), "max_batch_size": max_batch_size}
    check_options(choose_device(device), **batches, **options)
    times = {name: parse_time(text) for name, text in (("start", start), ("end", end)) if text}
    selection: dict[str, Any] = {"fps": fps, "every": every, **times}
    if raw:
        selection["raw"] = raw
    metres = o.metres(metric, focal, fov)
    if scene:
        for name, given in (("--resume", resume), ("--side-by-side", side_by_side), ("--full-size", full_size)):
            if given:
                raise InvalidInputError(f"{name} is not for --scene, whose views are computed as a whole")
        formats = parse_formats("depth_vis-glb" if export_format == "mp4" else export_format)
        if fps is None and every is None:
            selection["fps"] = _SCENE_FPS
        paths = extract_frames(source, export_dir / "input_images", **selection)
        model = load_model(model_dir, device, dtype, compiled=compiled)
        with stderr.status(f"depth of {len(paths)} view(s)"):
            report = run_scene(model, paths, export_dir, formats, metres=metres, **options)
    else:
        results = VideoResults(export_format, side_by_side, full_size, metres)
        options |= {**batches, "temporal": Temporal(temporal).value}
        model = load_model(model_dir, device, dtype, compiled=compiled)
        with _progress() as (begin, advance):
            report = run_video(
                model,
                source,
                export_dir,
                results,
                resume=resume,
                selection=selection,
                on_begin=begin,
                on_progress=advance,
                **options,
            )
    finish(report, as_json)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[SourceInfo, int | None, int], None], Callable[[], None]]]:
    """A bar on a terminal, with frames a second and the time that is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    written, began = 0, 0.0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("looking at the video", total=None, rate="")

        def begin(info: SourceInfo, total: int | None, done: int) -> None:
            stderr.print(f"{info.label}: decoded by {info.decoder.name} ({info.decoder.reason})", markup=False)
            bar.update(task, description="frames", total=total, completed=done)

        def advance() -> None:
            nonlocal written, began
            written += 1
            began = began or time.monotonic()  # of the first frame: not of loading and looking beforehand
            rate = (written - 1) / max(time.monotonic() - began, 1e-3)
            bar.update(task, advance=1, rate=f"{rate:.1f} fps")

        yield begin, advance
