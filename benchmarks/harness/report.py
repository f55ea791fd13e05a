"""Rows of a benchmark in, a table for people, Markdown or a chart out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.method import OURS, PEERS, REFERENCE
from harness.timing import Row

__all__ = ["draw_chart", "markdown", "print_rows"]

_COLUMNS = ("way", "median ms", "p90", "times faster", "PSNR dB", "max levels", "GPU MB", "runs", "took")
_COLOURS = {OURS: "#2f7ed8", PEERS: "#e39b3c"}
_USUAL_COLOUR, _REFERENCE_COLOUR = "#b0b7c3", "#6f7885"


def print_rows(console: Console, machine: Mapping[str, str], rows: Sequence[Row], missing: Mapping[str, str]) -> None:
    """Tables, one a case, and what is missing and why."""
    _print_facts(console, machine)
    for title, block in _blocks(rows):
        table = Table(title=title, title_justify="left")
        columns = _columns(block)
        for column in columns:
            table.add_column(column, justify="left" if column in ("way", "took") else "right", no_wrap=column == "way")
        for row in block:
            cells = _cells(row)
            table.add_row(*(cells[column] for column in columns), style="dim" if row.missing else None)
        console.print(table)
    for name, why in missing.items():
        console.print(f"missing here: {name}: {why}", highlight=False)


def markdown(machine: Mapping[str, str], rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """The same as Markdown."""
    lines = [f"- {key}: {value}" for key, value in machine.items()]
    for title, block in _blocks(rows):
        columns = _columns(block)
        lines += ["", f"**{title}**", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for row in block:
            cells = _cells(row)
            lines.append(f"| {' | '.join(cells[column] for column in columns)} |")
    if missing:
        lines += ["", *(f"- missing here: {name}: {why}" for name, why in missing.items())]
    return "\n".join(lines)


def draw_chart(path: Path, machine: Mapping[str, str], rows: Sequence[Row]) -> None:
    """A PNG of horizontal bars, a panel for each size and starting point.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("--plot needs matplotlib: run `uv sync`, or `pip install matplotlib`") from None
    timed = [row for row in rows if row.condition == "alone" and row.median_ms is not None]
    if not timed:
        raise SystemExit("--plot: there are no rows to draw")
    sizes, starts = list(dict.fromkeys(row.size for row in timed)), list(dict.fromkeys(row.start for row in timed))
    grouped = {
        (size, start): [r for r in timed if (r.size, r.start) == (size, start)] for size in sizes for start in starts
    }
    heights = [0.9 + 0.26 * max(len(grouped[size, start]) for start in starts) for size in sizes]
    figure = Figure(figsize=(6.6 * len(starts), sum(heights) + 1.1), layout="constrained")
    axes = figure.subplots(len(sizes), len(starts), squeeze=False, height_ratios=heights)
    for line, size in zip(axes, sizes, strict=True):
        for axis, start in zip(line, starts, strict=True):
            _draw_panel(axis, grouped[size, start], f"{size}, from {start}")
    batch = timed[0].batch
    figure.suptitle(
        f"{batch} pictures to the network's normalised tensor: median ms (times faster than the CPU reference)\n"
        f"{machine.get('gpu') or machine['processor']}; {machine['date']}\n"
        "blue: ours; light grey: the usual ways; orange: other libraries",
        fontsize=11,
    )
    FigureCanvasAgg(figure).print_png(path)


def _draw_panel(axis, rows: Sequence[Row], title: str) -> None:  # noqa: ANN001 - matplotlib is optional
    longest = max((row.median_ms or 0.0 for row in rows), default=1.0)
    for place, row in enumerate(rows):
        ms = row.median_ms or 0.0
        plain = _REFERENCE_COLOUR if row.way == REFERENCE else _USUAL_COLOUR
        axis.barh(place, ms, color=_COLOURS.get(row.group, plain), height=0.75)
        faster = "" if row.way == REFERENCE or row.speed_up is None else f"  ({row.speed_up:.1f}x)"
        axis.text(ms + 0.01 * longest, place, f"{_short(ms)}{faster}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.way for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 1.25 * longest)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("ms", fontsize=8)


def _print_facts(console: Console, machine: Mapping[str, str]) -> None:
    for key, value in machine.items():
        console.print(f"{key}: {value}", highlight=False)


def _blocks(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of one case together, with a title."""

    def case(row: Row) -> tuple[str, str, str, int]:
        return row.size, row.start, row.condition, row.batch

    blocks = []
    for (size, start, condition, batch), members in groupby(rows, case):
        pictures = "1 picture" if batch == 1 else f"{batch} pictures"
        blocks.append((f"{size}, from {start}, {condition}: {pictures}", list(members)))
    return blocks


def _columns(rows: Sequence[Row]) -> list[str]:
    """Those that say something of these rows."""
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
        return {**dict.fromkeys((*_COLUMNS, "network lost ms"), "-"), "way": row.way, "took": row.missing or ""}
    return {
        "way": row.way,
        "median ms": _short(row.median_ms),
        "p90": _short(row.p90_ms),
        "times faster": "-" if row.speed_up is None else f"{row.speed_up:.2f}",
        "PSNR dB": "-" if row.max_levels is None else "equal" if row.psnr_db is None else f"{row.psnr_db:.1f}",
        "max levels": "-" if row.max_levels is None else str(row.max_levels),
        "GPU MB": "-" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        "runs": str(row.runs),
        "took": row.took,
        "network lost ms": "-" if row.network_lost_ms is None else f"{row.network_lost_ms:.1f}",
    }


def _short(ms: float | None) -> str:
    """Three digits that count."""
    return "-" if ms is None else f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"
