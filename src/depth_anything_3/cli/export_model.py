"""Define `da3 export-model`, which writes a model as a file for other runtimes."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.completion import complete_choices, complete_models
from depth_anything_3.cli.console import EXIT_FAILURES, load_model, stderr, stdout
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.specification import Dynamic, GraphDtype, GraphInput, ModelFormat, Output

if TYPE_CHECKING:
    from depth_anything_3.inference.export_model import ExportKwargs

__all__ = ["export_model"]

logger = logging.getLogger(__name__)

_FORMATS = "|".join(one.value for one in ModelFormat)
_DYNAMIC = "|".join(one.value for one in Dynamic)
_DTYPES = "|".join(one.value for one in GraphDtype)
_INPUTS = "|".join(one.value for one in GraphInput)
_SUFFIXES = {ModelFormat.ONNX: ".onnx", ModelFormat.OPENVINO: ".xml", ModelFormat.PT2: ".pt2"}


def export_model(
    *,
    model_dir: Annotated[
        str,
        typer.Option(
            "--model-dir",
            "-m",
            help="Model: a hub id or preset (see da3 models), da3-nano (bundled), or a folder.",
            metavar="MODEL",
            autocompletion=complete_models,
            rich_help_panel="Model",
        ),
    ] = "depth-anything/DA3-BASE",
    model_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="Format of the file; default: that of the suffix of -o, else onnx.",
            metavar=_FORMATS,
            autocompletion=complete_choices(_FORMATS),
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height and width of the images, multiples of 14. Default: 280x504; da3-nano: 126x224.",
            metavar="HxW",
            show_default=False,
            rich_help_panel="Input",
        ),
    ] = None,
    dynamic: Annotated[
        str,
        typer.Option(
            help="What may vary from call to call; all: batch, height and width.",
            metavar=_DYNAMIC,
            autocompletion=complete_choices(_DYNAMIC),
            rich_help_panel="Input",
        ),
    ] = Dynamic.NONE.value,
    views: Annotated[
        str,
        typer.Option(
            help="Views of a scene that the file takes (any-view models).",
            metavar="N|dynamic",
            rich_help_panel="Views and 3D",
        ),
    ] = "1",
    graph_dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            help="Data type in which the backbone computes.",
            metavar=_DTYPES,
            autocompletion=complete_choices(_DTYPES),
            rich_help_panel="Performance",
        ),
    ] = GraphDtype.FLOAT32.value,
    graph_input: Annotated[
        str,
        typer.Option(
            "--input",
            help="What the images are: float32 channels first, normalised; or uint8 RGB, channels last.",
            metavar=_INPUTS,
            autocompletion=complete_choices(_INPUTS),
            rich_help_panel="Input",
        ),
    ] = GraphInput.NORMALIZED.value,
    output: Annotated[
        str,
        typer.Option(
            "--outputs",
            help=f"What the file returns, of {','.join(one.value for one in Output)}. Default: all that the model "
            "predicts.",
            metavar="LIST",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = "",
    verify: Annotated[
        list[Path] | None,
        typer.Option(
            "--verify",
            help="Also compare the file with the network on this image; may be repeated.",
            metavar="IMAGE",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Write the file without comparing it.", rich_help_panel="Output"),
    ] = False,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: the model's name in the current folder.",
            metavar="FILE",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "-y", help="Replace an existing file.", rich_help_panel="Output")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Write a model as an ONNX, OpenVINO or pt2 file, which appears only if it computes what the model computes.

    The file is compared with the torch network on real images, in every installed library that runs it, at every
    corner of the ranges that it accepts. The exit code is 1 if they differ; no file is written then.
    """
    if verify and no_verify:
        raise InvalidInputError("--verify and --no-verify exclude each other; omit one of them")
    from depth_anything_3.inference.export_model import export_network, parse_size, parse_specification

    chosen = _format(model_format, target)
    _check_target(target, overwrite)
    given: ExportKwargs = {
        "format": chosen,
        "size": None if size is None else parse_size(size),
        "dynamic": Dynamic(dynamic),
        "views": _views(views),
        "dtype": GraphDtype(graph_dtype),
        "input": GraphInput(graph_input),
        "outputs": [Output(one.strip()) for one in output.split(",") if one.strip()],
    }
    began = time.perf_counter()
    model = load_model(o.ModelFlags(model_dir, device="cpu", dtype="float32"))
    if target is None:
        target = Path(f"{model.model_name}{_SUFFIXES[chosen]}")
        _check_target(target, overwrite)
    from depth_anything_3.cli.verification_table import verification_report

    specification = parse_specification(target, model.card, given)
    images = list(verify) if verify else not no_verify
    with stderr.status("exporting") as status:

        def step(line: str) -> None:
            logger.info("%s", line)
            status.update(line)

        result = export_network(model.model, model.card, specification, target, images, step)
    seconds = time.perf_counter() - began
    if as_json:
        stdout.print_json(json.dumps({**result.as_dict(), "seconds": round(seconds, 2)}))
    else:
        stdout.print(verification_report(result), soft_wrap=False)
        written = f"written to {target}" if result.ok else f"{target}: not written, because it computes something else"
        stdout.print(f"{model.model_name} exported in {seconds:.1f} s; {written}", markup=False)
    if not result.ok:
        raise typer.Exit(EXIT_FAILURES)


def _format(given: str | None, target: Path | None) -> ModelFormat:
    if given is not None:
        return ModelFormat(given)
    if target is None:
        return ModelFormat.ONNX
    found = {suffix: one for one, suffix in _SUFFIXES.items()}.get(target.suffix.lower())
    if found is None:
        names = ", ".join(f"{suffix} ({one.value})" for one, suffix in _SUFFIXES.items())
        raise InvalidInputError(f"{target}: the suffix {target.suffix!r} is unknown; give one of {names}")
    return found


def _views(text: str) -> int | Literal["dynamic"]:
    if text == "dynamic":
        return "dynamic"
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInputError(f"--views {text}: give a whole number, 1 or more, or dynamic")
    return int(text)


def _check_target(target: Path | None, overwrite: bool) -> None:
    if target is not None and target.is_file() and not overwrite:
        raise InvalidInputError(f"{target}: exists; pass overwrite=True to replace it, or name another file")
