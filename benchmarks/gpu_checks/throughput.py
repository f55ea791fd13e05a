"""How many 4K files a second become depth on disk, by each way, against the network alone?"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from depth_anything_3.inputs.choices import Strategy
from gpu_checks.outcome import Report
from harness.method import Setting
from throughput import Run, disk_to_disk

__all__ = ["run"]

_PRESETS = ("da3-small", "da3-large")
_TARGET = 0.9  # of the network alone, by the best way
_BATCH = 8


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Each preset with random weights, in the dtype that the GPU takes by itself."""
    strategies = [Strategy.AUTO, Strategy.CPU]
    if setting.device.type == "cuda":
        strategies += [Strategy.HYBRID, *([Strategy.GPU_DECODE] if setting.capabilities.decoders else [])]
    for preset in _PRESETS[:1] if quick else _PRESETS:
        with report.guard(preset), tempfile.TemporaryDirectory() as scratch:
            options = argparse.Namespace(
                device=str(setting.device),
                network=preset,
                dtype=None,
                images=16 if quick else 192,
                size="640x480" if quick else "3840x2160",
                batch_size=_BATCH,
                strategies=",".join(one.value for one in strategies),
                workers=setting.workers,
                fidelity="exact",
                process_res=112 if quick else 504,
                format="depth_png",
                settled=8 if quick else 48,
            )
            _tell(report, preset, disk_to_disk(options, Path(scratch)), judged=setting.device.type == "cuda")


def _tell(report: Report, preset: str, runs: list[Run], *, judged: bool) -> None:
    for one in runs:
        busy = ", ".join(f"{stage} {share:.2f}" for stage, share in one.busy.items())
        text = f"{one.images_per_second:.1f} images/s, network alone {one.ceiling:.1f}; busy: {busy}"
        report.measured(f"{preset}, {one.strategy}, disk to disk", text, ways=one.ways, samples=one.samples)
    best = max(runs, key=lambda one: one.images_per_second)
    share = best.images_per_second / best.ceiling
    text = f"{best.strategy}: {share:.0%} of the network alone"
    if judged:
        report.check(f"{preset} from 4K files", share >= _TARGET, f"{text} (target {_TARGET:.0%})")
    else:
        report.measured(f"{preset} from files", text)
