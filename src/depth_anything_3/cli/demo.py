"""`da3 demo`: the whole way with what is in the package alone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, progress, stderr, stdout
from depth_anything_3.cli.groups import Omit, grouped
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.jobs.demo import DemoReport

__all__ = ["demo"]

_OWN = (
    "process_res",
    "mixed_sizes",
    "on_error",
    "executor",
    "num_workers",
    "max_pixels",
    "max_bytes",
    "allow_truncated",
    "exif",
    "process_res_method",
)


@grouped
def demo(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Photos, or folders of them; none: three scenes are drawn.", metavar="IMAGE"),
    ] = None,
    export_dir: o.ExportDir = Path("demo"),
    model: Annotated[o.ModelFlags, Omit(("dtype", "compiled"))] = o.ModelFlags(model_dir="da3-nano"),  # noqa: B008
    process_res: Annotated[
        int | None, typer.Option(help="Length in pixels of the bounded side; left out: what suits the model.")
    ] = None,
    preprocess: Annotated[PreprocessOptions, Omit(_OWN)] = PreprocessOptions(on_error=OnError.SKIP),  # noqa: B008
    as_json: o.Json = False,
) -> None:
    """Take pictures to depth with the small model in the package: side by side, as points, and all in overview.jpg.

    Without photos of yours, three scenes that the model has not seen are drawn in 4K, with their true depth.
    """
    began = time.perf_counter()
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs import demo as parts
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.runtime.devices import choose_device

    if process_res is not None:
        preprocess = replace(preprocess, process_res=process_res)
    check_device(choose_device(model.device), preprocess)
    paths = find_images(sources or [])
    loaded = load_model(model)
    if process_res is None:
        preprocess = replace(preprocess, process_res=parts.demo_resolution(loaded.engine))
    if loaded.card.is_demonstration:
        stderr.print(
            f"[yellow]{loaded.model_name} is a demonstration:[/] a small network, trained on drawn scenes alone. "
            "For real work: --model-dir depth-anything/DA3-BASE"
        )
    scenes = []
    if not sources:
        with stderr.status("drawing scenes") as status:
            for scene in parts.draw_scenes(export_dir):
                scenes.append(scene)
                paths.append(scene.path)
                status.update(f"drawing scenes: {len(scenes)} of {len(parts.SCENES)}")
    with progress(len(paths)) as advance:
        report = parts.run_demo(loaded.engine, paths, export_dir, scenes, preprocess, on_progress=advance)
    if not as_json and report.images:
        _tell(report, time.perf_counter() - began)
    finish(report, as_json)


def _tell(report: DemoReport, seconds: float) -> None:
    """Which way was taken and why, how good the result is, and where it is."""
    for way, reasons in report.strategies.items():
        for reason, count in reasons.items():
            stdout.print(f"{count} picture(s) went the {way} way: {reason}", markup=False)
    for name, lens in report.lenses.items():
        error = f"depth off by {report.abs_rel[name]:.0%} on average; " if name in report.abs_rel else ""
        stdout.print(f"{name}: {error}focal length for its points: {lens}", markup=False)
    stdout.print(f"look at {report.overview}; depth/, ply/ and glb/ hold the parts", markup=False)
    stdout.print(f"{seconds:.1f} s with loading and drawing; without:", markup=False)
