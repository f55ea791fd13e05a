"""Define `da3 demo`, which runs the pipeline offline with the bundled model and images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import escape_message, finish, load_model, stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.progress import progress
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.jobs.demo import DemoReport

__all__ = ["demo"]

_NOT_DEMO = (
    "process_res_method",
    "exif",
    "mixed_sizes",
    "num_workers",
    "executor",
    "on_error",
    "max_pixels",
    "max_bytes",
    "allow_truncated",
)

_MODEL = o.ModelFlags(model_dir="da3-nano")
_PREPROCESS = PreprocessOptions(on_error=OnError.SKIP)


@grouped
def demo(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Images or folders of images. Default: the three bundled 4K images.", metavar="IMAGE"),
    ] = None,
    *,
    export_dir: o.ExportDir = Path("demo"),
    model: Annotated[o.ModelFlags, Omit(("dtype", "compiled"))] = _MODEL,
    preprocess: Annotated[PreprocessOptions, Omit(_NOT_DEMO)] = _PREPROCESS,
    as_json: o.Json = False,
) -> None:
    """Compute depth of images with the small bundled model: depth maps, 3D points and an overview.

    Without IMAGE, use three rendered 4K images that the model was not trained on, and report the error against their
    true depth.
    """
    began = time.perf_counter()
    from depth_anything_3.export.checks import check_export_dir
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs.demo import demo_images, run_demo
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.runtime.devices import choose_device

    check_device(choose_device(model.device), preprocess)
    check_export_dir(export_dir)
    paths = find_images(sources or [])
    loaded = load_model(model)
    truths = {} if sources else {image.path: image.depth_m for image in demo_images()}
    paths = paths or list(truths)
    with progress(len(paths)) as advance:
        report = run_demo(loaded.engine, paths, export_dir, preprocess, truths, on_progress=advance)
    if not as_json and report.images:
        _print_results(report, time.perf_counter() - began)
    finish(demo, report, as_json)


def _print_results(report: DemoReport, seconds: float) -> None:
    """Print a table of the images, and the paths of the results."""
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
        table.add_row(escape_message(one.name), f"{width}x{height}", *times, *error)
    stdout.print(table)
    assumed = [one.name for one in report.results if one.focal_origin == "assumed"]
    if assumed:
        fov = f"a field of view of {ASSUMED_FOV_DEG:g} degrees along the longer side"
        stdout.print(f"no focal length in EXIF; 3D points assume {fov}: {', '.join(map(escape_message, assumed))}")
    stdout.print(f"overview: {report.overview}; each image: depth/, ply/ and glb/ in the same folder", markup=False)
    stdout.print(f"{seconds:.1f} s including start-up; without start-up:", markup=False)
