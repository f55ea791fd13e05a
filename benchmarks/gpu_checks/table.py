"""The benchmark's table in a form that fits the time, and what was promised of it: met or missed."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

from depth_anything_3.diagnostics.calibrate import calibrate
from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.inputs.choices import Strategy
from gpu_checks.outcome import Report
from gpu_preprocessing_benchmark import measure
from harness.machine import describe_machine
from harness.method import FILES, OURS, PEERS, REFERENCE, Setting, Way
from harness.methods import OursOnGPU, UsualGPUDecode, make_ways
from harness.timing import Row, first_line

__all__ = ["run"]

_PLAN = {"4K": (21, 0.5), "FHD": (21, 0.5), "HD": (11, 0.6), "VGA": (11, 1.0)}
"""Size to turns, and to the part of the seconds left that it may take; the most important first."""

_FULL = ("4K", "FHD")
"""Sizes that are also timed as single pictures and beside a network."""

_QUICK_PLAN = {"VGA": (3, 1.0)}
_CALIBRATION_SHARE = 0.1
_MOST_MS = 6.0
_LEAST_AGAINST_REFERENCE = 10.0
_LEAST_AGAINST_USUAL = 3.0


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Rows to a file beside the report's; the targets are told of the 4K files."""
    ways, missing = make_ways(setting)
    if setting.has_gpu and not quick:
        with report.guard("calibration"):
            ways.append(_calibrated(report, setting))
    for name, why in missing.items():
        report.skipped(name, why)
    load = NetworkLoad(setting.device) if setting.has_gpu else None
    rows: list[Row] = []
    for size, (rounds, share) in (_QUICK_PLAN if quick else _PLAN).items():
        full = size in _FULL or quick
        with report.guard(size):
            rows += measure(
                ways,
                setting,
                size,
                rounds=rounds,
                seconds=share * report.seconds_left,
                load=load if full else None,
                single=full,
            )
            _save(report.folder / "rows.json", setting, rows, missing)
            report.measured(size, f"{sum(row.missing is None for row in rows)} rows so far")
    for way in ways:
        try:
            way.close()
        except RuntimeError as error:
            report.measured(f"{way.name}, closing", first_line(error))
    if load is not None:
        load.close()
    for row in rows:
        if row.missing:
            report.check(f"{row.way}, {row.size} from {row.start}, {row.condition}", False, row.missing)
    _targets(report, rows)


def _calibrated(report: Report, setting: Setting) -> Way:
    """The same as "auto", with this machine's costs known."""
    costs = calibrate(setting.device, setting.capabilities, seconds=_CALIBRATION_SHARE * report.seconds_left)
    report.measured("calibration", f"{len(costs.costs)} costs", costs=[str(one) for one in costs.costs])
    known = replace(setting, capabilities=replace(setting.capabilities, costs=costs))
    return OursOnGPU(known, Strategy.AUTO, note="calibrated")


def _save(path: Path, setting: Setting, rows: list[Row], missing: dict[str, str]) -> None:
    """In the form that `gpu_preprocessing_benchmark.py --read` takes."""
    machine = describe_machine(setting.device)
    machine["task"] = (
        f"to {str(setting.dtype).removeprefix('torch.')} at 504 pixels on {setting.device.type}; "
        f"{setting.workers} workers; files are in memory, 4:2:0, quality 95"
    )
    found = {"machine": machine, "missing": missing, "rows": [row.as_dict() for row in rows]}
    path.write_text(json.dumps(found), encoding="utf-8")


def _targets(report: Report, rows: list[Row]) -> None:
    """Of 4 files of 4K, alone, by the best of our ways and by "auto"."""
    alone = [row for row in rows if (row.size, row.start, row.condition) == ("4K", FILES, "alone") and row.median_ms]
    medians = {row.way: row.median_ms for row in alone if row.median_ms is not None}
    ours = [row for row in alone if row.group == OURS]
    if not ours or REFERENCE not in medians:
        report.skipped("targets", "they are of 4K files on a GPU")
        return
    best = min(ours, key=lambda row: medians[row.way])
    chosen = [row for row in ours if row.way.startswith(f"ours: {Strategy.AUTO.value}")]
    for row in dict.fromkeys([best, *chosen]):
        ms = medians[row.way]
        _target(report, f"{row.way}: ms for 4 x 4K", ms, _MOST_MS, at_most=True)
        _target(report, f"{row.way}: times faster than {REFERENCE}", row.speed_up or 0.0, _LEAST_AGAINST_REFERENCE)
        for other in alone:
            ratio = statistics.median(a / b for a, b in zip(other.times_ms, row.times_ms, strict=False))
            if other.way == UsualGPUDecode.name:
                _target(report, f"{row.way}: times faster than {other.way}", ratio, _LEAST_AGAINST_USUAL)
            elif other.group == PEERS:
                report.measured(f"{row.way}: against {other.way}", f"{ratio:.2f} times faster")
        if UsualGPUDecode.name not in medians:
            report.skipped(f"{row.way}: times faster than {UsualGPUDecode.name}", "that way did not run")


def _target(report: Report, name: str, value: float, bound: float, *, at_most: bool = False) -> None:
    good = value <= bound if at_most else value >= bound
    relation = "at most" if at_most else "at least"
    verdict = "met" if good else "MISSED"
    text = f"{value:.2f}, {relation} {bound:g}: {verdict}"
    report.measured(f"target, {name}", text, value=value, bound=bound, met=good)
