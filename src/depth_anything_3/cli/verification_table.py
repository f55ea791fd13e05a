"""Format the verification of an exported model as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from depth_anything_3.diagnostics.environment_report import plain_table
from depth_anything_3.exported.specification import Output
from depth_anything_3.exported.verification import Verification, VerificationCase

__all__ = ["verification_report"]


def verification_report(result: Verification) -> RenderableType:
    """Format what was compared: a row for each call, with the largest error of its outputs, and problems."""
    if not result.reference:
        return Text("not compared with the network")
    return Group(
        Text(f"compared with {result.reference}", style="bold"),
        _table(result),
        *(
            Text(f"{one.runtime} ({one.provider}) did not open the file: {one.reason}")
            for one in result.not_run
            if not one.is_failure
        ),
        *(Text.from_markup(f"[red]failed:[/] {escape(one)}") for one in result.problems),
    )


def _table(result: Verification) -> Table:
    table = plain_table()
    for name in ("runtime", "provider"):
        table.add_column(name, overflow="fold")
    for name in ("size", "batch", "views", "largest error", "AbsRel"):
        table.add_column(name, justify="right")
    table.add_column("result")
    calls: dict[tuple[object, ...], list[VerificationCase]] = {}
    for one in result.cases:
        calls.setdefault((one.runtime, one.provider, one.size_hw, one.batch, one.views), []).append(one)
    for cases in sorted(
        calls.values(), key=lambda cases: (cases[0].runtime, cases[0].provider)
    ):  # shapes stay in order
        table.add_row(*_row(cases))
    return table


def _row(cases: list[VerificationCase]) -> list[str]:
    first = cases[0]
    errors = [(one.max_error, one.output.value) for one in cases if one.max_error is not None]
    abs_rel = next((one.mean_error for one in cases if one.output is Output.DEPTH), None)
    failed = [one.output.value for one in cases if one.problem is not None]
    return [
        first.runtime,
        escape(first.provider),
        "x".join(map(str, first.size_hw)),
        str(first.batch),
        str(first.views),
        "{:.1e} {}".format(*max(errors)) if errors else "-",
        "-" if abs_rel is None else f"{abs_rel:.1e}",
        f"[red]{', '.join(failed)} wrong[/]" if failed else "[green]ok[/]",
    ]
