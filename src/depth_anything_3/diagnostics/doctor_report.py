"""Format a diagnosis and self-checks as tables for a terminal of 80 columns, or as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from depth_anything_3.diagnostics.doctor import Diagnosis, InputStrategy
from depth_anything_3.diagnostics.environment import Environment
from depth_anything_3.diagnostics.environment_report import (
    checkpoints_table,
    environment_lines,
    extras_table,
    gibibytes,
    memory_text,
    plain_table,
    titled,
    variables_table,
)
from depth_anything_3.diagnostics.self_check import SelfCheck
from depth_anything_3.inputs.routing.costs import Costs

__all__ = ["as_plain", "cost_report", "report"]


def report(diagnosis: Diagnosis, checks: Sequence[SelfCheck], environment: Environment) -> RenderableType:
    """Format the machine's properties, its environment, the strategies, and the self-check."""
    return Group(
        _properties(diagnosis, environment),
        *titled("Extras (pip: in the folder of this package's source)", extras_table(environment.extras)),
        *titled("Checkpoints", checkpoints_table(environment)),
        *(titled("Environment variables", variables_table(environment.variables)) if environment.variables else ()),
        *titled("Strategy by input", _strategy_table(diagnosis.strategies)),
        *titled("Self-check: 1920x1080 JPEG, compared with Pillow and OpenCV", _check_table(checks)),
    )


def as_plain(
    diagnosis: Diagnosis, checks: Sequence[SelfCheck], environment: Environment
) -> dict[str, Any]:  # Any: plain JSON values
    """Convert the report to plain values for JSON; the infinite PSNR of equal pixels becomes null."""
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
    return {
        **diagnosis.as_dict(),
        "hints": [*diagnosis.hints, *environment.hints],
        "environment": environment.as_dict(),
        "checks": rows,
        "ok": diagnosis.ok and all(check.ok for check in checks),
    }


def cost_report(costs: Costs) -> RenderableType:
    """Format calibration results: milliseconds per image by decoder and image size."""
    return Group(*titled("Calibration: ms per image, GPU idle / busy", _cost_table(costs)))


def _cost_table(costs: Costs) -> Table:
    sizes = sorted({cost.pixels for cost in costs.table})
    table = plain_table()
    table.add_column("decoder")
    table.add_column("concurrency", justify="right")
    for pixels in sizes:
        table.add_column(f"{pixels / 1e6:.1f} MP", justify="right")
    rows: dict[tuple[str, int], dict[int, str]] = {}
    for cost in costs.table:
        times = f"{cost.alone_ms:.3g} / {cost.contended_ms:.3g}"
        rows.setdefault((cost.decoder, cost.concurrency), {})[cost.pixels] = times
    for (decoder, concurrency), cells in rows.items():
        table.add_row(escape(decoder), str(concurrency), *(cells.get(pixels, "-") for pixels in sizes))
    return table


def _properties(diagnosis: Diagnosis, environment: Environment) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in (*_lines(diagnosis, environment), *environment_lines(environment)):
        table.add_row(name, text)
    for hint in (*diagnosis.hints, *environment.hints):
        table.add_row("[yellow]hint[/]", escape(hint))
    return table


def _lines(diagnosis: Diagnosis, environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield names and markup."""
    found = diagnosis.capabilities
    yield "package", f"{diagnosis.package}, Python {diagnosis.python}"
    yield "system", escape(diagnosis.system) + (", in a container" if environment.container else "")
    yield "processor", escape(f"{diagnosis.processor}, usable cores: {found.cores}")
    yield "memory", memory_text(environment.memory)
    runtime = diagnosis.cuda and (diagnosis.cuda if "ROCm" in diagnosis.cuda else f"CUDA {diagnosis.cuda}")
    yield "torch", escape(diagnosis.torch + (f", built for {runtime}" if runtime else ""))
    yield "device", escape(f"{diagnosis.device} ({found.device_name})")
    if found.device_type != "cpu":
        if diagnosis.compute_capability and diagnosis.memory_bytes:
            memory = gibibytes(diagnosis.memory_bytes)
            if diagnosis.free_memory_bytes is not None:
                memory += f", {gibibytes(diagnosis.free_memory_bytes)} free"
            yield "", f"compute capability {diagnosis.compute_capability}, {memory}"
        decoders = (f"{one.name} {one.version} ({_chroma(one.exact)})" for one in found.decoders)
        yield "GPU decoders", escape(", ".join(decoders)) or "[yellow]none[/]"
        yield "resamplers", escape(", ".join(found.resamplers))
    if found.device_type == "cuda":
        engines = "unknown" if found.jpeg_engines is None else str(found.jpeg_engines)
        yield "JPEG engines", escape(f"{engines}: {found.missing_engine.cause}" if found.missing_engine else engines)
        yield "nvJPEG", diagnosis.nvjpeg or "[yellow]none[/]"
    if found.device_type == "cuda" or diagnosis.driver:
        yield "NVIDIA driver", escape(diagnosis.driver or "unknown")
    yield "CPU decoders", escape(", ".join(f"{name} {number}" for name, number in diagnosis.cpu_decoders.items()))
    yield "calibration", _calibration(diagnosis)


def _chroma(exact: bool) -> str:
    return "exact" if exact else "nearest chroma"


def _calibration(diagnosis: Diagnosis) -> str:
    stored = diagnosis.calibration
    if stored.ignored:
        return f"[yellow]{escape(stored.ignored)}[/]"
    if stored.costs:
        return escape(f"{stored.date} ({stored.path})")
    if diagnosis.nothing_to_calibrate:
        return escape(f"not needed: {diagnosis.nothing_to_calibrate}")
    return "none; run `da3 doctor --calibrate` to measure which decoder is fastest"


def _strategy_table(strategies: Sequence[InputStrategy]) -> Table:
    """Inputs with the same strategies share a row."""
    table = plain_table()
    table.add_column("input", overflow="fold", ratio=3)
    table.add_column("mode", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    table.add_column("reason", overflow="fold", ratio=5)
    by_input: dict[str, dict[tuple[str, str], list[str]]] = {}
    for one in strategies:
        by_input.setdefault(one.input, {}).setdefault(_strategy_cells(one), []).append(one.mode)
    groups: dict[tuple[tuple[tuple[str, str], str], ...], list[str]] = {}
    for name, modes_by_cells in by_input.items():
        any_mode = len(modes_by_cells) == 1
        row = tuple((cells, "any" if any_mode else ", ".join(modes)) for cells, modes in modes_by_cells.items())
        groups.setdefault(row, []).append(name)
    for row, names in groups.items():
        label = "all inputs" if len(groups) == 1 else ", ".join(names)
        for (strategy, reason), mode in row:
            table.add_row(label, mode, strategy, reason)
            label = ""
    return table


def _strategy_cells(one: InputStrategy) -> tuple[str, str]:
    """Return strategy and reason, as markup."""
    if one.choice is None:
        return "[red]none[/]", f"[red]{escape(str(one.problem))}[/]"
    return one.choice.strategy.value, escape(one.choice.reason)


def _check_table(checks: Sequence[SelfCheck]) -> Table:
    table = plain_table()
    table.add_column("strategy", no_wrap=True)
    table.add_column("backend", no_wrap=True)
    table.add_column("max diff", justify="right")
    table.add_column("PSNR (dB)", justify="right")
    table.add_column("time (ms)", justify="right")
    table.add_column("result", overflow="fold")
    for check in checks:
        psnr, milliseconds = check.psnr_db, check.milliseconds
        table.add_row(
            check.strategy.value,
            escape(check.tool or ""),
            "" if check.max_difference is None else f"{check.max_difference}/255",
            "" if psnr is None else f"{psnr:.1f}",
            "" if milliseconds is None else f"{milliseconds:.1f}",
            "[green]ok[/]" if check.ok else f"[red]{escape(str(check.problem))}[/]",
        )
    return table
