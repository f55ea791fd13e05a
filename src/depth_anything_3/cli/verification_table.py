"""Format the verification of an exported model as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from depth_anything_3.diagnostics.environment_report import plain_table, titled
from depth_anything_3.exported.specification import Output
from depth_anything_3.exported.verification import Verification, VerificationCase

__all__ = ["verification_report"]


def verification_report(result: Verification) -> RenderableType:
    """Format what was compared: a table for each provider, and what failed."""
    if not result.reference:
        return Text("not compared with the network")
    runs: dict[tuple[str, str], list[VerificationCase]] = {}
    for one in result.cases:
        runs.setdefault((one.runtime, one.provider), []).append(one)
    lines = [f"compared with {result.reference}"]
    lines += [f"{one.runtime} ({one.provider}) did not run it: {one.reason}" for one in result.not_run]
    return Group(
        *map(Text, lines),
        *(
            part
            for (runtime, provider), cases in runs.items()
            for part in titled(f"{runtime} ({provider})", _table(cases))
        ),
        *(Text(f"failed: {one}", style="red") for one in result.problems),
    )


def _table(cases: list[VerificationCase]) -> Table:
    """Make a row for each call."""
    table = plain_table()
    for name in ("size", "batch", "views", "largest error", "in", "AbsRel", "result"):
        table.add_column(name, justify="left" if name in ("in", "result") else "right")
    calls: dict[tuple[object, ...], list[VerificationCase]] = {}
    for one in cases:
        calls.setdefault((one.size_hw, one.batch, one.views), []).append(one)
    for outputs in calls.values():
        table.add_row(*_row(outputs))
    return table


def _row(outputs: list[VerificationCase]) -> list[str]:
    first = outputs[0]
    worst = max((one for one in outputs if one.max_error is not None), key=_max_error, default=None)
    abs_rel = next((one.mean_error for one in outputs if one.output is Output.DEPTH), None)
    failed = [one.output.value for one in outputs if one.problem is not None]
    return [
        "x".join(map(str, first.size_hw)),
        str(first.batch),
        str(first.views),
        "-" if worst is None else f"{_max_error(worst):.1e}",
        "-" if worst is None else worst.output.value,
        "-" if abs_rel is None else f"{abs_rel:.1e}",
        f"[red]{', '.join(failed)} wrong[/]" if failed else "[green]ok[/]",
    ]


def _max_error(case: VerificationCase) -> float:
    return case.max_error or 0.0
