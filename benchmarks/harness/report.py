"""Report results as a console table, Markdown, JSON or a chart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.cases import Row
from harness.method import OURS, PEERS, REFERENCE

__all__ = ["Block", "as_json", "blocks_of", "draw_chart", "print_facts", "print_report", "short_ms"]

Facts = Mapping[str, str]

_COLUMNS = ("method", "median ms", "p90", "times faster", "PSNR dB", "max levels", "GPU MB", "runs", "took")
_COLOURS = {OURS: "#2f7ed8", PEERS: "#e39b3c"}
_USUAL_COLOUR, _REFERENCE_COLOUR = "#b0b7c3", "#6f7885"


@dataclass(frozen=True)
class Block:
    """One table: title, columns, and rows of cells; the first column is a name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_facts(console: Console, facts: Facts) -> None:
    """Print the facts of the machine, one per line."""
    for key, value in facts.items():
        console.print(f"{key}: {value}", highlight=False, soft_wrap=True)


def print_report(
    console: Console, facts: Facts, blocks: Sequence[Block], missing: Facts, *, as_markdown: bool = False
) -> None:
    """Print the machine, the tables, and why methods are missing."""
    if as_markdown:
        print(_markdown(facts, blocks, missing))
        return
    print_facts(console, facts)
    for block in blocks:
        table = Table(title=block.title, title_justify="left")
        for column in block.columns:
            left = column in (block.columns[0], "took")
            table.add_column(column, justify="left" if left else "right", no_wrap=column == block.columns[0])
        for row in block.rows:
            table.add_row(*row)
        console.print(table)
    for name, why in missing.items():
        console.print(f"missing here: {name}: {why}", highlight=False)


def _markdown(facts: Facts, blocks: Sequence[Block], missing: Facts) -> str:
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    for block in blocks:
        lines += ["", f"**{block.title}**", "", f"| {' | '.join(block.columns)} |", f"|{'---|' * len(block.columns)}"]
        lines += [f"| {' | '.join(row)} |" for row in block.rows]
    if missing:
        lines += ["", *(f"- missing here: {name}: {why}" for name, why in missing.items())]
    return "\n".join(lines)


def as_json(facts: Facts, rows: Sequence[Mapping[str, Any]], missing: Facts | None = None) -> str:  # Any: plain values
    """Convert everything to JSON, for the scripts' `--json`."""
    found = {"machine": facts} if missing is None else {"machine": facts, "missing": missing}
    return json.dumps({**found, "rows": rows}, indent=1)


def blocks_of(rows: Iterable[Row]) -> list[Block]:
    """Make a table for each case."""

    def case(row: Row) -> tuple[str, str, str, int]:
        return row.size, row.start, row.condition, row.batch

    blocks = []
    for (size, start, condition, batch), members in groupby(rows, case):
        block = list(members)
        columns = _columns(block)
        images = "1 image" if batch == 1 else f"{batch} images"
        cells = [[_cells(row)[column] for column in columns] for row in block]
        blocks.append(Block(f"{size}, from {start}, {condition}: {images}", columns, cells))
    return blocks


def _columns(rows: Sequence[Row]) -> list[str]:
    """Select the columns that have values in these rows."""
    columns = list(_COLUMNS)
    if not any(row.peak_mb is not None for row in rows):
        columns.remove("GPU MB")
    if not any(row.took or row.missing for row in rows):
        columns.remove("took")
    if any(row.network_lost_ms is not None for row in rows):
        columns.insert(-1, "network lost ms")
    return columns


def _cells(row: Row) -> dict[str, str]:
    if row.median_ms is None:
        return {**dict.fromkeys((*_COLUMNS, "network lost ms"), "-"), "method": row.method, "took": row.missing or ""}
    return {
        "method": row.method,
        "median ms": short_ms(row.median_ms),
        "p90": short_ms(row.p90_ms),
        "times faster": "-" if row.speed_up is None else f"{row.speed_up:.2f}",
        "PSNR dB": "-" if row.max_levels is None else "equal" if row.psnr_db is None else f"{row.psnr_db:.1f}",
        "max levels": "-" if row.max_levels is None else str(row.max_levels),
        "GPU MB": "-" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        "runs": str(row.runs),
        "took": row.took,
        "network lost ms": "-" if row.network_lost_ms is None else f"{row.network_lost_ms:.1f}",
    }


def short_ms(ms: float | None) -> str:
    """Format milliseconds with three significant digits."""
    return "-" if ms is None else f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def draw_chart(path: Path, facts: Facts, rows: Sequence[Row]) -> None:
    """Draw a PNG of horizontal bars, with a panel for each size and start.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("--plot needs matplotlib: run `uv sync`, or `pip install matplotlib`") from None
    shown = [row for row in rows if row.condition == "alone" and row.median_ms is not None]
    if not shown:
        raise SystemExit("--plot: there are no rows to draw")
    sizes, starts = list(dict.fromkeys(row.size for row in shown)), list(dict.fromkeys(row.start for row in shown))
    grouped = {
        (size, start): [r for r in shown if (r.size, r.start) == (size, start)] for size in sizes for start in starts
    }
    heights = [0.9 + 0.26 * max(len(grouped[size, start]) for start in starts) for size in sizes]
    figure = Figure(figsize=(6.6 * len(starts), sum(heights) + 1.1), layout="constrained")
    axes = figure.subplots(len(sizes), len(starts), squeeze=False, height_ratios=heights)
    for line, size in zip(axes, sizes, strict=True):
        for axis, start in zip(line, starts, strict=True):
            _draw_panel(axis, grouped[size, start], f"{size}, from {start}")
    batch = shown[0].batch
    figure.suptitle(
        f"{batch} images to the network's normalised tensor: median ms (times faster than the CPU reference)\n"
        f"{facts.get('gpu') or facts['processor']}; {facts['date']}\n"
        "blue: ours; light grey: the usual methods; orange: other libraries",
        fontsize=11,
    )
    FigureCanvasAgg(figure)
    figure.savefig(path)


def _draw_panel(axis: Any, rows: Sequence[Row], title: str) -> None:  # Any: matplotlib's axes, which is optional
    longest = max((row.median_ms or 0.0 for row in rows), default=1.0)
    for place, row in enumerate(rows):
        ms = row.median_ms or 0.0
        plain = _REFERENCE_COLOUR if row.method == REFERENCE else _USUAL_COLOUR
        axis.barh(place, ms, color=_COLOURS.get(row.group, plain), height=0.75)
        faster = "" if row.method == REFERENCE or row.speed_up is None else f"  ({row.speed_up:.1f}x)"
        axis.text(ms + 0.01 * longest, place, f"{short_ms(ms)}{faster}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.method for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 1.25 * longest)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("ms", fontsize=8)
