"""Measure the throughput from 4K files to depth on disk, by strategy, against the network alone."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from gpu_checks.outcome import Report
from gpu_checks.samples import strategies_here
from harness.method import Setting
from throughput import DiskJob, Run, disk_to_disk

__all__ = ["run"]

_PRESETS = ("da3-small", "da3-large")
_TARGET = 0.9  # of the network alone, by the best strategy
_BATCH = 8


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Run each preset with random weights, in the GPU's default dtype."""
    for preset in _PRESETS[:1] if quick else _PRESETS:
        with report.guard(preset), tempfile.TemporaryDirectory() as scratch:
            job = DiskJob(
                device=setting.device,
                network=preset,
                images=16 if quick else 192,
                size="640x480" if quick else "3840x2160",
                batch_size=_BATCH,
                workers=setting.workers,
                strategies=[one.value for one in strategies_here(setting)],
                process_res=112 if quick else 504,
                settled=8 if quick else 48,
            )
            _report(report, preset, disk_to_disk(job, Path(scratch)), judged=setting.device.type == "cuda")


def _report(report: Report, preset: str, runs: list[Run], *, judged: bool) -> None:
    for one in runs:
        busy = ", ".join(f"{stage} {share:.2f}" for stage, share in one.busy.items())
        text = f"{one.images_per_second:.1f} images/s, network alone {one.ceiling:.1f}; busy: {busy}"
        samples = [asdict(sample) for sample in one.samples]
        report.measured(f"{preset}, {one.strategy}, disk to disk", text, strategies=one.strategies, samples=samples)
    best = max(runs, key=lambda one: one.images_per_second)
    share = best.images_per_second / best.ceiling
    text = f"{best.strategy}: {share:.0%} of the network alone"
    if judged:
        report.check(f"{preset} from 4K files", share >= _TARGET, f"{text} (target {_TARGET:.0%})")
    else:
        report.measured(f"{preset} from files", text)
