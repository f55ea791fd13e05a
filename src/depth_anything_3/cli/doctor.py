"""Define `da3 doctor`, which reports what this machine supports and tests it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.cluster_check import check_nodes
from depth_anything_3.cli.completion import complete_models
from depth_anything_3.cli.console import EXIT_FAILURES, stderr, stdout
from depth_anything_3.errors import InvalidInputError

__all__ = ["doctor"]


def doctor(
    device: o.Device = "auto",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="First measure the speed of each strategy and save the result (about 20 s).",
            rich_help_panel="Performance",
        ),
    ] = False,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Do not ask whether the model hub can be reached.", rich_help_panel="Model"),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Only verify this exported model (.onnx, .xml, .pt2): in every installed library that runs it, with "
            "everything that it computes with on this machine.",
            metavar="FILE",
            show_default=False,
            rich_help_panel="Model",
        ),
    ] = None,
    model_dir: Annotated[
        str | None,
        typer.Option(
            "--model-dir",
            "-m",
            help="Checkpoint that was exported, to compare with. Default: the one in the hub's cache, else the results "
            "that the exported file holds. With --cluster: the model that each node has to find.",
            metavar="MODEL",
            autocompletion=complete_models,
            show_default=False,
            rich_help_panel="Model",
        ),
    ] = None,
    verify: Annotated[
        list[Path] | None,
        typer.Option(
            "--verify",
            help="Also compare on this image (with --model); may be repeated.",
            metavar="IMAGE",
            show_default=False,
            rich_help_panel="Input",
        ),
    ] = None,
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster",
            help="Only compare the nodes of this Ray cluster (auto, local or HOST:PORT): versions, GPUs, and whether "
            "each finds the model of --model-dir (default: da3-nano, which is bundled).",
            metavar="ADDRESS",
            rich_help_panel="Performance",
        ),
    ] = "",
    as_json: o.Json = False,
) -> None:
    """Report what this machine supports, which strategy each kind of input gets, and test every strategy on an image.

    Also reported: extras, memory, disk space, checkpoints in the hub's cache, whether the hub can be reached (at most 3
    s), and environment variables that matter; never the value of a token.

    The exit code is 1 if a test fails. Without a GPU or a GPU decoder there is nothing to calibrate; this is reported
    and is not a failure.
    """
    if cluster:
        if model is not None or calibrate or verify:
            raise InvalidInputError("--cluster excludes --model, --verify and --calibrate; omit one of them")
        check_nodes(cluster, model_dir or "da3-nano", as_json)
        return
    if model is not None:
        if calibrate:
            raise InvalidInputError("--model and --calibrate exclude each other; omit one of them")
        _verify_model(model, model_dir, verify or [], as_json)
        return
    if model_dir is not None or verify:
        raise InvalidInputError("--model-dir and --verify are for verifying an exported model; add --model FILE")
    with stderr.status("examining this machine") as status:
        from depth_anything_3.api import choose_device
        from depth_anything_3.diagnostics import doctor as parts
        from depth_anything_3.diagnostics.doctor_report import as_plain, cost_report, report
        from depth_anything_3.diagnostics.environment import examine_environment
        from depth_anything_3.diagnostics.hub_answer import HubQuestion
        from depth_anything_3.diagnostics.self_check import self_check

        target = choose_device(device)
        reason = None
        if calibrate:
            reason = parts.recalibrate(target, on_progress=lambda done: status.update(f"calibrating: {done:.0%}"))
        question = HubQuestion("--offline" if offline else None)  # answered beside the other work
        status.update("testing every strategy")
        diagnosis = parts.examine(target)
        checks = self_check(target, diagnosis.capabilities)
        environment = examine_environment(question.answer())
    if reason is not None:
        stderr.print(f"nothing to calibrate: {reason}", markup=False)
    if as_json:
        stdout.print_json(json.dumps(as_plain(diagnosis, checks, environment)))
    else:
        stdout.print(report(diagnosis, checks, environment), soft_wrap=False)
        if calibrate and diagnosis.calibration.costs:
            stdout.print(cost_report(diagnosis.calibration.costs), soft_wrap=False)
    if not (diagnosis.ok and all(check.ok for check in checks)):
        raise typer.Exit(EXIT_FAILURES)


def _verify_model(path: Path, model_dir: str | None, images: list[Path], as_json: bool) -> None:
    with stderr.status(f"opening {path.name}") as status:
        from depth_anything_3.cli.verification_table import verification_report
        from depth_anything_3.diagnostics.exported_model import check_exported_model

        result = check_exported_model(path, model_dir, images, status.update)
    if as_json:
        stdout.print_json(json.dumps(result.as_dict()))
    else:
        stdout.print(verification_report(result), soft_wrap=False)
        stdout.print(f"{path}: {'computes what it should' if result.ok else 'computes something else'}", markup=False)
    if not result.ok:
        raise typer.Exit(EXIT_FAILURES)
