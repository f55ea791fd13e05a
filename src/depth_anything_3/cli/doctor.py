"""`da3 doctor`: report what this machine has, and whether it works."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import EXIT_FAILURES, stderr, stdout

__all__ = ["doctor"]


def doctor(
    device: o.Device = "auto",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First measure what pays on this machine, and keep that; 20 s.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Print what was found, choose a way for each kind of input, and try every way on one picture.

    The exit code is 1 if a way does not do what it promises. Without a GPU, or a decoder for it, there is nothing to
    calibrate; that is told and is no failure.
    """
    with stderr.status("looking around") as status:
        from depth_anything_3.api import choose_device
        from depth_anything_3.diagnostics import doctor as parts
        from depth_anything_3.diagnostics.doctor_report import as_plain, cost_report, report
        from depth_anything_3.diagnostics.self_check import self_check

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
