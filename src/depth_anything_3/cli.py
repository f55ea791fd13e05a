"""The `da3` command: parses, calls the API, reports. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from depth_anything_3.errors import DA3Error, InvalidInputError

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.batch_run import RunReport

__all__ = ["app", "main"]

EXIT_FAILURES = 1
EXIT_MISUSE = 2
_EXIT_STOPPED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    name="da3",
    help="Depth Anything 3: from images to depth, with nothing wasted on the way in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
stdout = Console(highlight=False, emoji=False, soft_wrap=True)

_ModelDir = Annotated[str, typer.Option(help="Hub id, or folder with config.json and model.safetensors.")]
_ExportDir = Annotated[Path, typer.Option(help="Folder for the results; made if missing.")]
_ExportFormat = Annotated[str, typer.Option(help="Joined with '-': depth_vis, depth_png, npz, mini_npz.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
_Dtype = Annotated[str, typer.Option(help="What the backbone computes in: auto, float32, bfloat16, float16.")]
_Scene = Annotated[bool, typer.Option("--scene", help="The images are views of ONE scene and see each other.")]
_ProcessRes = Annotated[int, typer.Option(help="Length in pixels of the bounded side.")]
_Method = Annotated[
    str, typer.Option(help="upper_bound_resize, upper_bound_crop, lower_bound_resize, lower_bound_crop.")
]
_RayPose = Annotated[
    bool, typer.Option("--use-ray-pose", help="Cameras from the ray map, not the camera decoder; slower.")
]
_RefView = Annotated[str, typer.Option(help="With --scene: saddle_balanced, saddle_sim_range, first, middle.")]
_BatchSize = Annotated[
    str,
    typer.Option(help="Most images of one size computed together: a number, all, or auto (what GPU memory holds)."),
]
_MaxBatchSize = Annotated[int, typer.Option(help="Most that --batch-size auto takes.")]
_MemoryShare = Annotated[float, typer.Option(help="Share of the free memory that --batch-size auto fills.")]
_Workers = Annotated[int, typer.Option(help="Images decoded and resampled at a time.")]
_OnError = Annotated[str, typer.Option(help="skip: go on without an image that cannot be read; raise: stop.")]
_Extensions = Annotated[str, typer.Option(help="Which files of a folder or pattern are taken.")]
_Recursive = Annotated[bool, typer.Option("--recursive", help="Of folders, also the images in folders below.")]
_Exif = Annotated[
    str, typer.Option(help="apply: turn pictures upright; ignore: leave them as stored, as upstream does.")
]
_Strategy = Annotated[
    str, typer.Option(help="Way to the network's memory: auto, gpu_decode, hybrid, full_gpu, cpu; see da3 doctor.")
]
_Fidelity = Annotated[str, typer.Option(help="How exact pixels must be: exact, high, fast.")]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Skip images whose results are there: go on with a run that was stopped.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
_AutoCleanup = Annotated[bool, typer.Option("--auto-cleanup", hidden=True)]


@app.command("auto", short_help="One image or many, whichever is given.")
@app.command("images", short_help="Depth of many images: folders, files, patterns, lists.")
@app.command("image", short_help="Depth of one image.")
def images(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, patterns in quotes ('**/*.jpg'), or @list.txt.", metavar="SOURCE"),
    ],
    model_dir: _ModelDir = "depth-anything/DA3-BASE",
    export_dir: _ExportDir = Path("debug"),
    export_format: _ExportFormat = "depth_vis-npz",
    device: _Device = "auto",
    dtype: _Dtype = "auto",
    scene: _Scene = False,
    process_res: _ProcessRes = 504,
    process_res_method: _Method = "upper_bound_resize",
    use_ray_pose: _RayPose = False,
    ref_view_strategy: _RefView = "saddle_balanced",
    batch_size: _BatchSize = "auto",
    max_batch_size: _MaxBatchSize = 64,
    target_memory_utilization: _MemoryShare = 0.85,
    num_workers: _Workers = 8,
    on_error: _OnError = "skip",
    recursive: _Recursive = False,
    image_extensions: _Extensions = "png,jpg,jpeg,webp,bmp,tif,tiff",
    exif: _Exif = "apply",
    strategy: _Strategy = "auto",
    fidelity: _Fidelity = "exact",
    resume: _Resume = False,
    as_json: _Json = False,
    auto_cleanup: _AutoCleanup = False,  # upstream's scripts pass it; here files are replaced whole
) -> None:
    """Write depth for images, each on its own, or with --scene for all as views of one scene."""
    from depth_anything_3.api import choose_device
    from depth_anything_3.batch_limit import parse_batch_size
    from depth_anything_3.batch_run import check_options, run_images, run_scene
    from depth_anything_3.export import ExportFormat, parse_formats
    from depth_anything_3.find_images import find_images

    options: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "num_workers": num_workers,
        "on_error": on_error,
        "exif": exif,
        "strategy": strategy,
        "fidelity": fidelity,
    }
    parse_formats(export_format)  # misuse is told before weights are loaded
    batches: dict[str, Any] = {
        "batch_size": parse_batch_size(batch_size, 1),
        "max_batch_size": max_batch_size,
        "target_memory_utilization": target_memory_utilization,
    }
    check_options(choose_device(device), **batches, **options)
    results = [export_dir / one.value for one in ExportFormat]  # which may lie inside the folder of images
    paths = find_images(sources, image_extensions, recursive=recursive, leave_out=results)
    single = context.info_name == "image" or (context.info_name == "auto" and len(paths) == 1)
    if context.info_name == "image" and len(paths) != 1:
        raise InvalidInputError(f"da3 image takes one image, not {len(paths)}; for more there is da3 images")
    if resume and (scene or single):
        raise InvalidInputError("--resume is for independent images, with da3 images; a scene is computed as a whole")
    model = _load(model_dir, device, dtype)
    options["use_ray_pose"] = use_ray_pose
    if scene or single:
        with stderr.status(f"depth of {len(paths)} view(s)"):
            report = run_scene(model, paths, export_dir, export_format, ref_view_strategy=ref_view_strategy, **options)
    else:
        options |= batches | {"batch_size": parse_batch_size(batch_size, len(paths))}
        report_file = export_dir / "report.json"
        with _progress(len(paths)) as advance:
            report = run_images(
                model,
                paths,
                export_dir,
                export_format,
                resume=resume,
                report_file=report_file,
                on_progress=advance,
                **options,
            )
    _finish(report, as_json)


@app.command(short_help="Picture and depth side by side, without a photo at hand.")
def demo(
    export_dir: _ExportDir = Path("demo"),
    model_dir: Annotated[str, typer.Option(help="Hub id or folder; empty: what the hub's cache holds, or none.")] = "",
    device: _Device = "auto",
    process_res: _ProcessRes = 504,
    strategy: _Strategy = "auto",
    fidelity: _Fidelity = "exact",
    as_json: _Json = False,
) -> None:
    """Draw a few photo-like pictures, take them to depth, and write picture and depth side by side."""
    from depth_anything_3 import demo as parts
    from depth_anything_3.api import choose_device
    from depth_anything_3.batch_run import check_options

    options: dict[str, Any] = {"process_res": process_res, "strategy": strategy, "fidelity": fidelity}
    check_options(choose_device(device), **options)
    model, name = (_load(model_dir, device, "auto"), model_dir) if model_dir else parts.load_demo_model(device)
    if name is None:
        stderr.print(
            "[yellow]These weights are random:[/] no trained checkpoint is at hand, so the depth below means nothing. "
            "The way there is the real one.\nFor real depth: da3 image PHOTO --model-dir depth-anything/DA3-BASE"
        )
    with stderr.status("drawing pictures"):
        paths = parts.make_pictures(export_dir)
    with _progress(len(paths)) as advance:
        report = parts.run_demo(model, paths, export_dir, on_progress=advance, **options)
    _finish(report, as_json)
    if not as_json:
        for path in paths:
            stdout.print(f"  {export_dir / 'depth_vis' / path.name}", markup=False)


@app.command(short_help="What this machine has, which way each input takes, and whether it works.")
def doctor(
    device: _Device = "auto",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First measure what pays on this machine, and keep that; 20 s.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Print what was found, choose a way for each kind of input, and try every way on one picture.

    The exit code is 1 if a way does not do what it promises. Without a GPU, or a decoder for it, there is nothing to
    calibrate; that is told and is no failure.
    """
    with stderr.status("looking around") as status:
        from depth_anything_3 import doctor as parts
        from depth_anything_3.api import choose_device
        from depth_anything_3.doctor_report import as_plain, cost_report, report
        from depth_anything_3.self_check import self_check

        target = choose_device(device)
        reason = None
        if calibrate:
            reason = parts.recalibrate(target, on_progress=lambda done: status.update(f"calibrating: {done:.0%}"))
        status.update("trying every way")
        diagnosis = parts.examine(target)
        checks = self_check(target, diagnosis.capabilities)
    if reason is not None:
        stderr.print(f"nothing to calibrate: {reason}", markup=False)
    if as_json:
        stdout.print_json(json.dumps(as_plain(diagnosis, checks)))
    else:
        stdout.print(report(diagnosis, checks), soft_wrap=False)
        if calibrate and diagnosis.calibration.costs:
            stdout.print(cost_report(diagnosis.calibration.costs), soft_wrap=False)
    if not (diagnosis.ok and all(check.ok for check in checks)):
        raise typer.Exit(EXIT_FAILURES)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from depth_anything_3 import __version__

        stdout.print(f"da3 {__version__}")
        raise typer.Exit


def _load(model_dir: str, device: str, dtype: str) -> DepthAnything3:
    with stderr.status(f"loading {escape(model_dir)}"):
        from depth_anything_3.api import DepthAnything3

        return DepthAnything3.from_pretrained(model_dir, device, None if dtype == "auto" else dtype)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task("images", total=total)
        yield lambda: progress.advance(task)


def _finish(report: RunReport, as_json: bool) -> None:
    """Print how it went; leave with exit code 1 if any image failed."""
    for failure in report.failures:
        stderr.print(f"[red]failed[/] {escape(failure['error'])}")
    if as_json:
        stdout.print_json(json.dumps(report.as_dict()))
    else:
        skipped = f", {report.skipped} there already" if report.skipped else ""
        failed = f", {len(report.failures)} failed" if report.failures else ""
        written = f"; written to {report.export_dir}" if report.images else ""
        stdout.print(
            f"{report.images} image(s) in {report.wall_seconds:.2f} s ({report.images_per_second:.2f} images/s) "
            f"on {report.device}{skipped}{failed}{written}",
            markup=False,
        )
        if report.images:
            stages = report.stage_seconds.items()
            each = " | ".join(f"{stage} {1e3 * seconds / report.images:.1f}" for stage, seconds in stages)
            stdout.print(f"ms per image: {each}")
            ways = ((way, sum(reasons.values())) for way, reasons in report.strategies.items())
            stdout.print(f"strategy: {', '.join(f'{way} {count}' for way, count in ways)}")
    if report.failures:
        raise typer.Exit(EXIT_FAILURES)


class _Warnings(logging.Handler):
    """Prints this package's log beside the progress bar, not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        stderr.print(f"[yellow]{record.levelname.lower()}[/] {escape(record.getMessage())}")


def main() -> None:
    """Run the command; errors of ours become one line, with exit code 2 for misuse and 1 otherwise."""
    # What libraries print about damaged files says less than our errors.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    # Decoding shares the cores with the network: threads that spin while they wait for a core that is busy made the
    # network 2 to 6 times slower on two cores, sleeping ones cost under 10 % where nothing else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("depth_anything_3").addHandler(_Warnings(logging.WARNING))
    try:
        app()
    except DA3Error as error:
        if "--debug" in sys.argv:
            raise
        stderr.print(f"[red]error[/] {escape(str(error))}")
        sys.exit(EXIT_MISUSE if isinstance(error, InvalidInputError) else EXIT_FAILURES)
    except SystemExit as left:
        if left.code == _EXIT_STOPPED:
            stderr.print("stopped; what was written is whole")
        raise
