"""`da3 doctor`, `models`: what there is, and whether it works."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import EXIT_FAILURES, stderr, stdout

__all__ = ["doctor", "models"]


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
        from depth_anything_3.diagnostics.report import as_plain, cost_report, report
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


def models(as_json: o.Json = False) -> None:
    """List the models: what each predicts, and under which licence."""
    from rich.table import Column, Table

    from depth_anything_3.model.catalog import MODEL_CARDS

    if as_json:
        stdout.print_json(json.dumps([card.as_dict() for card in MODEL_CARDS.values()]))
        return
    longest = max(len(name) for card in MODEL_CARDS.values() for name in card.hub_ids)
    table = Table(
        Column("--model-dir", no_wrap=True, min_width=longest),
        "depth",
        "also predicts",
        Column("licence", no_wrap=True, min_width=12),
        box=None,
    )
    for card in MODEL_CARDS.values():
        has = {"confidence": card.has_conf, "cameras": card.has_poses, "sky": card.has_sky}
        has["3D Gaussians"] = card.has_gaussians
        also = ", ".join(name for name, there in has.items() if there)
        table.add_row("\n".join(card.hub_ids or [card.name]), card.depth_kind.value, also, card.licence)
    stdout.print(table)
    for card in MODEL_CARDS.values():
        if card.is_demonstration:
            stdout.print(f"{card.name} comes with the package: a small demonstration, not for real work.", markup=False)
