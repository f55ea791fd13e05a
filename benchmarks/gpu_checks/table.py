"""Fill the benchmark's table as far as time allows, and compare it with the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from depth_anything_3.diagnostics.calibrate import SIZES, calibrate
from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.inputs.choices import Strategy
from gpu_checks.outcome import Report
from gpu_preprocessing_benchmark import make_cases, measure
from harness.cases import Row
from harness.machine import describe_machine
from harness.method import FILES, OURS, PEERS, REFERENCE, Method, Setting
from harness.methods import OursOnGPU, UsualGPUDecode, make_methods
from harness.report import as_json
from harness.timing import first_line, ratio

__all__ = ["run"]

_PLAN = {"4K": (21, 0.5), "FHD": (21, 0.5), "HD": (11, 0.6), "VGA": (11, 1.0)}
"""Size to turns, and to the part of the seconds left that it may take; the most important first."""

_FULL = ("4K", "FHD")
"""Sizes that are also timed as single images and beside a network."""

_QUICK_PLAN = {"VGA": (3, 1.0)}
_CALIBRATION_SHARE = 0.1
_QUICK_SIZES = ((64, 48),)
_MAX_MS = 6.0
_MIN_AGAINST_REFERENCE = 10.0
_MIN_AGAINST_USUAL = 3.0


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Write the rows to a file beside the report; the targets are about the 4K files."""
    methods, missing = make_methods(setting)
    if setting.has_gpu:
        with report.guard("calibration"):
            methods.append(_calibrated(report, setting, _QUICK_SIZES if quick else SIZES))
    for name, why in missing.items():
        report.skipped(name, why)
    load = NetworkLoad(setting.device) if setting.has_gpu else None
    rows: list[Row] = []
    for size, (rounds, share) in (_QUICK_PLAN if quick else _PLAN).items():
        full = size in _FULL or quick
        with report.guard(size):
            cases = make_cases(size, single=full, beside_network=full and load is not None)
            seconds = share * report.seconds_left
            rows += measure(methods, setting, cases, rounds=rounds, seconds=seconds, load=load)
            _save(report.folder / "rows.json", setting, rows, missing)
            report.measured(size, f"{sum(row.missing is None for row in rows)} rows so far")
    for method in methods:
        try:
            method.close()
        except RuntimeError as error:
            report.measured(f"{method.name}, closing", first_line(error))
    if load is not None:
        load.close()
    for row in rows:
        if row.missing:
            report.check(f"{row.method}, {row.size} from {row.start}, {row.condition}", False, row.missing)
    _targets(report, rows)


def _calibrated(report: Report, setting: Setting, sizes: Sequence[tuple[int, int]]) -> Method:
    """Calibrate this machine, and return the method "auto" with its costs."""
    seconds = _CALIBRATION_SHARE * report.seconds_left
    costs = calibrate(setting.device, setting.capabilities, seconds=seconds, sizes=sizes)
    report.measured("calibration", f"{len(costs.table)} costs", costs=[str(one) for one in costs.table])
    known = replace(setting, capabilities=replace(setting.capabilities, costs=costs))
    return OursOnGPU(known, Strategy.AUTO, note="calibrated")


def _save(path: Path, setting: Setting, rows: list[Row], missing: dict[str, str]) -> None:
    """Write the rows as JSON for `gpu_preprocessing_benchmark.py --read`."""
    machine = describe_machine(setting.device)
    machine["task"] = f"{setting}; files are in memory, 4:2:0, quality 95"
    path.write_text(as_json(machine, [row.as_dict() for row in rows], missing), encoding="utf-8")


def _targets(report: Report, rows: list[Row]) -> None:
    """Check the targets for 4 files of 4K, alone, by the best of our methods and by "auto"."""
    alone = [row for row in rows if (row.size, row.start, row.condition) == ("4K", FILES, "alone") and row.median_ms]
    medians = {row.method: row.median_ms for row in alone if row.median_ms is not None}
    ours = [row for row in alone if row.group == OURS]
    if not ours or REFERENCE not in medians:
        report.skipped("targets", "they are of 4K files on a GPU")
        return
    best = min(ours, key=lambda row: medians[row.method])
    chosen = [row for row in ours if row.method.startswith(f"ours: {Strategy.AUTO.value}")]
    for row in dict.fromkeys([best, *chosen]):
        ms = medians[row.method]
        _target(report, f"{row.method}: ms for 4 x 4K", ms, _MAX_MS, at_most=True)
        _target(report, f"{row.method}: times faster than {REFERENCE}", row.speed_up or 0.0, _MIN_AGAINST_REFERENCE)
        for other in alone:
            faster = ratio(other.times_ms, row.times_ms)
            if other.method == UsualGPUDecode.name:
                _target(report, f"{row.method}: times faster than {other.method}", faster, _MIN_AGAINST_USUAL)
            elif other.group == PEERS:
                report.measured(f"{row.method}: against {other.method}", f"{faster:.2f} times faster")
        if UsualGPUDecode.name not in medians:
            report.skipped(f"{row.method}: times faster than {UsualGPUDecode.name}", "that method did not run")


def _target(report: Report, name: str, value: float, bound: float, *, at_most: bool = False) -> None:
    good = value <= bound if at_most else value >= bound
    relation = "at most" if at_most else "at least"
    verdict = "met" if good else "MISSED"
    text = f"{value:.2f}, {relation} {bound:g}: {verdict}"
    report.measured(f"target, {name}", text, value=value, bound=bound, met=good)
