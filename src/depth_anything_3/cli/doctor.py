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
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Do not ask whether the model hub can be reached.", rich_help_panel="Model"),
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Report what this machine supports, which strategy each kind of input gets, and test every strategy on an image.

    Also reported: extras, memory, disk space, checkpoints in the hub's cache, whether the hub can be reached (at most 3
    s), and environment variables that matter; never the value of a token.

    The exit code is 1 if a test fails. Without a GPU or a GPU decoder there is nothing to calibrate; this is reported
    and is not a failure.
    """
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
