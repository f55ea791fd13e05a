"""Define `da3 doctor`, which reports what this machine supports and tests it."""

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
        bool,
        typer.Option(
            "--calibrate",
            help="First measure the speed of each strategy and save the result (about 20 s).",
            rich_help_panel="Performance",
        ),
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Report what this machine supports, which strategy each kind of input gets, and test every strategy on an image.

    The exit code is 1 if a test fails. Without a GPU or a GPU decoder there is nothing to calibrate; this is reported
    and is not a failure.
    """
    with stderr.status("examining this machine") as status:
        from depth_anything_3.api import choose_device
        from depth_anything_3.diagnostics import doctor as parts
        from depth_anything_3.diagnostics.doctor_report import as_plain, cost_report, report
        from depth_anything_3.diagnostics.self_check import self_check

        target = choose_device(device)
        reason = None
        if calibrate:
            reason = parts.recalibrate(target, on_progress=lambda done: status.update(f"calibrating: {done:.0%}"))
        status.update("testing every strategy")
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
