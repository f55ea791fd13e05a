"""Define `da3 plan`, which states how images become the network's input, for programs in other languages."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import EXIT_FAILURES, escape_message, stderr, stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.images import PREPROCESS
from depth_anything_3.cli.messages import flags_of
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.inputs.failure import ImageFailure
    from depth_anything_3.jobs.plan import ImagePlan

__all__ = ["plan"]

_NETWORK = Omit(("dtype", "backend", "compiled"))
_AFTER_THE_HEADER = Omit(("mixed_sizes", "fidelity", "num_workers", "executor", "allow_truncated"))


@grouped
def plan(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, folders, quoted patterns ('**/*.jpg'), or @list.txt with one of these per line.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    *,
    source_size: Annotated[
        str,
        typer.Option(
            help="Instead of files: height and width of upright images, such as the frames of a camera.",
            metavar="HxW",
            rich_help_panel="Input",
        ),
    ] = "",
    find: o.FindFlags,
    preprocess: Annotated[PreprocessOptions, _AFTER_THE_HEADER] = PREPROCESS,
    model: Annotated[o.ModelFlags, _NETWORK],
    focal: Annotated[
        float | None,
        typer.Option(
            help="Focal length in pixels of the image file. Default: from EXIF.",
            metavar="PIXELS",
            show_default=False,
            rich_help_panel="Metric depth",
        ),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(
            help="Horizontal field of view in degrees, instead of --focal.",
            metavar="DEGREES",
            show_default=False,
            rich_help_panel="Metric depth",
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """State how images become the network's input: sizes, operators, crop, intrinsics, focal length.

    Read the headers alone. With --json, print all that a program in another language needs to compute the same input,
    within one level of 255. Nothing is downloaded.
    """
    from depth_anything_3.inputs.discover import find_with_folders
    from depth_anything_3.inputs.routing.capabilities import find_capabilities
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.plan import Planner, describe_plans, model_process_res
    from depth_anything_3.runtime.devices import choose_device

    if bool(sources) == bool(source_size):
        raise InvalidInputError("give image files, or --source-size HxW, such as 1080x1920")
    options = preprocess.for_model(model_process_res(model.model_dir))
    device = choose_device(model.device)
    check_device(device, options)
    planner = Planner(options, find_capabilities(device), focal=focal, fov=fov)
    failures: list[ImageFailure] = []
    if source_size:
        plans = [planner.size(_parse_size(source_size))]
    else:
        found = find_with_folders(sources or [], find.image_extensions, recursive=find.recursive)
        plans = planner.files((one.path for one in found), failures.append)
    for failure in failures:
        stderr.print_error(f"[red]failed:[/] {escape_message(str(failure.error), flags_of([plan]))}")
    if as_json:
        typer.echo(json.dumps(describe_plans(plans, failures, options), separators=(",", ":"), ensure_ascii=False))
    else:
        for one in plans:
            stdout.print("\n".join(_lines(one)), markup=False)
    if failures:
        raise typer.Exit(EXIT_FAILURES)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if match is None:
        raise InvalidInputError(f"--source-size {text}: give height and width in pixels, such as 1080x1920")
    return int(match[1]), int(match[2])


def _lines(one: ImagePlan) -> list[str]:
    """Return the plan of one image in words; sizes are height x width, as --source-size takes them."""
    from depth_anything_3.inputs.plan.banded_operator import resample_passes

    plan, header = one.plan, one.header
    steps = [f"{step.interpolation.value} to {_size(step.result_hw)}" for step in plan.steps]
    if plan.crop:
        steps.append(f"crop {_size(plan.result_hw)} at row {plan.crop.top}, column {plan.crop.left}")
    (x, _, left), (_, y, top), _ = one.transform.tolist()
    shift = f"; cx {left:+.0f}, cy {top:+.0f}" if plan.crop else ""
    stored = f"{header.format}, EXIF orientation {header.exif_orientation}, " if header else ""
    lines = [
        one.path or "upright image",
        f"  height x width: {stored}upright {_size(plan.source_hw)}; network {_size(plan.result_hw)}",
        f"  resizes: {', then '.join(steps) or 'none'}; in passes: {len(resample_passes(plan))}",
        f"  intrinsics: fx, cx times {x:.6g}; fy, cy times {y:.6g}{shift}",
    ]
    if one.focal is None:
        lines.append("  focal length: unknown; give --focal or --fov for metric depth")
    else:
        doubt = f"; doubtful: {one.focal.doubt}" if one.focal.doubt else ""
        lines.append(f"  focal length: {one.focal_px:.1f} pixels of the network's input ({one.focal.origin}{doubt})")
    if one.choice is not None:
        lines.append(f"  strategy: {one.choice.strategy.value}, {one.choice.reason}")
    return lines


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}x{size_hw[1]}"
