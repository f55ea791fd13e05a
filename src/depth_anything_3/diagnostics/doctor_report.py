"""A diagnosis and self-checks in, tables for a terminal out; readable at 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from depth_anything_3.diagnostics.doctor import Diagnosis, Route
from depth_anything_3.diagnostics.self_check import SelfCheck
from depth_anything_3.inputs.routing.costs import Costs

__all__ = ["as_plain", "cost_report", "report"]


def report(diagnosis: Diagnosis, checks: Sequence[SelfCheck]) -> RenderableType:
    """What was found, the ways, the self-check."""
    return Group(
        _facts(diagnosis),
        *_titled("Ways", _route_table(diagnosis.routes)),
        *_titled("Self-check: a JPEG of 1920x1080, against Pillow and two OpenCV resizes", _check_table(checks)),
    )


def as_plain(diagnosis: Diagnosis, checks: Sequence[SelfCheck]) -> dict[str, Any]:  # Any: plain JSON values
    """The same for machines; the PSNR of equal pixels, which JSON has no number for, is null."""
    rows = [
        {
            "strategy": check.strategy.value,
            "tool": check.tool,
            "exact": check.exact,
            "ok": check.ok,
            "problem": check.problem,
            "max_difference": check.max_difference,
            "psnr_db": None if check.psnr_db == math.inf else check.psnr_db,
            "milliseconds": check.milliseconds,
        }
        for check in checks
    ]
    return {**diagnosis.as_dict(), "checks": rows, "ok": diagnosis.ok and all(check.ok for check in checks)}


def cost_report(costs: Costs) -> RenderableType:
    """What was measured: milliseconds per image by way and size of picture."""
    return Group(*_titled("Measured: ms an image, alone / beside a network", _cost_table(costs)))


def _cost_table(costs: Costs) -> Table:
    sizes = sorted({cost.pixels for cost in costs.table})
    table = _table()
    table.add_column("way")
    table.add_column("at a time", justify="right")
    for pixels in sizes:
        table.add_column(f"{pixels / 1e6:.1f} MP", justify="right")
    rows: dict[tuple[str, int], dict[int, str]] = {}
    for cost in costs.table:
        times = f"{cost.alone_ms:.3g} / {cost.contended_ms:.3g}"
        rows.setdefault((cost.decoder, cost.concurrency), {})[cost.pixels] = times
    for (way, at_a_time), cells in rows.items():
        table.add_row(escape(way), str(at_a_time), *(cells.get(pixels, "-") for pixels in sizes))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _titled(title: str, table: Table) -> tuple[Text, Table]:
    """A table's own title would wrap at the table's width."""
    return Text(f"\n{title}", style="bold"), table


def _facts(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in _lines(diagnosis):
        table.add_row(name, text)
    return table


def _lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Names and markup."""
    found = diagnosis.capabilities
    yield "package", f"{diagnosis.package}, Python {diagnosis.python}"
    yield "system", escape(diagnosis.system)
    yield "processor", escape(f"{diagnosis.processor}, {found.cores} cores usable")
    runtime = diagnosis.cuda and (diagnosis.cuda if "ROCm" in diagnosis.cuda else f"CUDA {diagnosis.cuda}")
    yield "torch", escape(diagnosis.torch + (f", built for {runtime}" if runtime else ""))
    yield "device", escape(f"{diagnosis.device}: {found.device_name}")
    if found.device_type != "cpu":
        if diagnosis.compute_capability and diagnosis.memory_bytes:
            memory = f"{diagnosis.memory_bytes / 2**30:.1f} GiB"
            yield "", f"compute capability {diagnosis.compute_capability}, {memory}"
        decoders = (f"{one.name} {one.version} ({_chroma(one.exact)})" for one in found.decoders)
        yield "GPU decoders", escape(", ".join(decoders)) or "[yellow]none[/]"
        yield "resamplers", escape(", ".join(found.resamplers))
    if found.device_type == "cuda":
        engines = found.jpeg_engines
        yield "JPEG engines", "the driver could not be queried" if engines is None else str(engines)
        yield "nvJPEG", diagnosis.nvjpeg or "[yellow]none[/]"
    if found.device_type == "cuda" or diagnosis.driver:
        yield "NVIDIA driver", escape(diagnosis.driver or "unknown")
    yield "CPU decoders", escape(", ".join(f"{name} {number}" for name, number in diagnosis.cpu_decoders.items()))
    yield "calibration", _calibration(diagnosis)
    if diagnosis.asked_strategy is not None:
        yield "DA3_STRATEGY", escape(f"{diagnosis.asked_strategy}, from the environment")
    for hint in diagnosis.hints:
        yield "[yellow]hint[/]", escape(hint)


def _chroma(exact: bool) -> str:
    return "exact" if exact else "nearest chroma"


def _calibration(diagnosis: Diagnosis) -> str:
    stored = diagnosis.calibration
    if stored.ignored:
        return f"[yellow]{escape(stored.ignored)}[/]"
    if stored.costs:
        return escape(f"{stored.date}, in {stored.path}")
    if diagnosis.nothing_to_calibrate:
        return escape(f"not needed: {diagnosis.nothing_to_calibrate}")
    return "none; `da3 doctor --calibrate` measures what pays here"


def _route_table(routes: Sequence[Route]) -> Table:
    """Kinds that share their ways share a row."""
    table = _table()
    table.add_column("input", overflow="fold", ratio=3)
    table.add_column("use", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=5)
    ways: dict[str, dict[tuple[str, str], list[str]]] = {}
    for route in routes:
        ways.setdefault(route.kind, {}).setdefault(_route_cells(route), []).append(route.use)
    kinds: dict[tuple[tuple[tuple[str, str], str], ...], list[str]] = {}
    for kind, told in ways.items():
        row = tuple((way, "any" if len(told) == 1 else ", ".join(uses)) for way, uses in told.items())
        kinds.setdefault(row, []).append(kind)
    for row, names in kinds.items():
        name = "every kind" if len(kinds) == 1 else ", ".join(names)
        for (strategy, why), use in row:
            table.add_row(name, use, strategy, why)
            name = ""
    return table


def _route_cells(route: Route) -> tuple[str, str]:
    """Strategy and reason, as markup."""
    if route.choice is None:
        return "[red]none[/]", f"[red]{escape(str(route.problem))}[/]"
    return route.choice.strategy.value, escape(route.choice.reason)


def _check_table(checks: Sequence[SelfCheck]) -> Table:
    table = _table()
    table.add_column("strategy", no_wrap=True)
    table.add_column("with", no_wrap=True)
    table.add_column("levels", justify="right")
    table.add_column("PSNR dB", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("", overflow="fold")
    for check in checks:
        psnr, milliseconds = check.psnr_db, check.milliseconds
        table.add_row(
            check.strategy.value,
            escape(check.tool or ""),
            "" if check.max_difference is None else str(check.max_difference),
            "" if psnr is None else "equal" if psnr == math.inf else f"{psnr:.1f}",
            "" if milliseconds is None else f"{milliseconds:.1f}",
            "[green]ok[/]" if check.ok else f"[red]{escape(str(check.problem))}[/]",
        )
    return table
