"""`da3 demo`: the whole pipeline with what comes in the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, progress, stderr, stdout, told

if TYPE_CHECKING:
    from depth_anything_3.jobs.demo import DemoReport

__all__ = ["demo"]


def demo(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Images, or folders of them; none: the three 4K images in the package.", metavar="IMAGE"),
    ] = None,
    export_dir: o.ExportDir = Path("demo"),
    model_dir: o.ModelDir = "da3-nano",
    device: o.Device = "auto",
    process_res: Annotated[
        int | None, typer.Option(help="Length in pixels of the bounded side; default: what suits the model.")
    ] = None,
    strategy: o.Strategy = "auto",
    fidelity: o.Fidelity = "exact",
    as_json: o.Json = False,
) -> None:
    """Compute depth of images with the small model in the package: depth maps and 3D points, and all in overview.jpg.

    Without images of yours it takes three rendered ones in 4K, which the model has not seen, and compares with their
    true depth.
    """
    began = time.perf_counter()
    from depth_anything_3.api import choose_device
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs.demo import demo_images, run_demo
    from depth_anything_3.jobs.images import check_options

    resolution: dict[str, Any] = {} if process_res is None else {"process_res": process_res}  # Any: as keywords
    check_options(choose_device(device), strategy=strategy, fidelity=fidelity, **resolution)
    paths = find_images(sources or [], "png,jpg,jpeg,webp,bmp,tif,tiff")
    model = load_model(model_dir, device, "auto")
    if model.card.is_demonstration:
        stderr.print(
            f"[yellow]{model.model_name} is a demonstration:[/] a small network, trained on rendered scenes alone. "
            "For real work: --model-dir depth-anything/DA3-BASE"
        )
    truths = {} if sources else {image.path: image.depth_m for image in demo_images()}
    paths = paths or list(truths)
    with progress(len(paths)) as advance:
        report = run_demo(
            model,
            paths,
            export_dir,
            truths,
            process_res=process_res,
            strategy=strategy,
            fidelity=fidelity,
            on_progress=advance,
        )
    if not as_json and report.images:
        _print_results(report, time.perf_counter() - began)
    finish(report, as_json)


def _print_results(report: DemoReport, seconds: float) -> None:
    """Print a table of the images, and where the result images are."""
    from rich import box
    from rich.table import Table

    from depth_anything_3.jobs.demo import ASSUMED_FOV_DEG

    scored = any(one.abs_rel is not None for one in report.results)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold")
    for name in ("size", "decode + resize", "network", *(["depth error (AbsRel)"] if scored else [])):
        table.add_column(name, justify="right")
    for one in report.results:
        error = [] if one.abs_rel is None else [f"{one.abs_rel:.1%}"]
        height, width = one.size
        times = (f"{ms:.0f} ms" for ms in (one.preprocess_ms, one.network_ms))
        table.add_row(told(one.name), f"{width}x{height}", *times, *error)
    stdout.print(table)
    assumed = [one.name for one in report.results if one.focal_origin == "assumed"]
    if assumed:
        view = f"a field of view of {ASSUMED_FOV_DEG:g} degrees along the longer side"
        stdout.print(f"no focal length in the EXIF block of {', '.join(map(told, assumed))}: 3D points assume {view}")
    stdout.print(f"overview: {report.overview}; each image: depth/, ply/, glb/ beside it", markup=False)
    stdout.print(f"{seconds:.1f} s with start-up; without:", markup=False)
