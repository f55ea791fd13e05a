"""Check that the memory of torch, the GPU and the process stays flat over thousands of batches of small JPEGs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from gpu_checks.outcome import Report
from harness.images import encode
from harness.method import Setting, declared_fidelity, find_cuda_decoders
from harness.watch import Gauge, Watch

__all__ = ["run"]

BATCHES = 2000
_SETTLED = 0.2  # part of the batches after which memory must not grow any more
_EVERY = 25
_BATCH = 4
_RES = 140
_LIMITS_MB: dict[Gauge, float] = {"rss_mb": 200.0, "allocated_mb": 4.0, "device_mb": 64.0}
"""Growth that still counts as flat: what the process holds, what torch has allocated, what is in use on the GPU."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Half through `batches`, half through calls: with the machine's own choice, then through each decoder, fewer."""
    files = [encode(photo(120 + 8 * place, 90, place)) for place in range(8)]
    count = 40 if quick else BATCHES
    runs = [("auto", setting, Strategy.AUTO, Fidelity.EXACT, count)]
    for name, traits in find_cuda_decoders(setting.device).installed.items():
        fidelity = declared_fidelity(traits)
        runs.append((f"gpu_decode ({name})", setting.only(traits), Strategy.GPU_DECODE, fidelity, count // 4))
    for place, (name, where, strategy, fidelity, batches) in enumerate(runs):
        with report.guard(name):
            seconds = report.seconds_left / (len(runs) - place)
            steps = _steps(where, files, batches, strategy, fidelity)
            _watch(report, name, steps, setting.device, batches, seconds)


def _steps(setting: Setting, files: list[bytes], count: int, strategy: Strategy, fidelity: Fidelity) -> Iterator[None]:
    """Run one batch per step."""
    with GPUInputProcessor(setting.device, dtype=setting.dtype, capabilities=setting.capabilities) as processor:
        inputs = (files[number % len(files)] for number in range(count // 2 * _BATCH))
        options = PreprocessOptions(process_res=_RES, num_workers=setting.workers, strategy=strategy, fidelity=fidelity)
        for batch in processor.batches(inputs, options, batch_size=_BATCH):
            if isinstance(batch, ImageFailure):
                raise batch.error
            yield
        for number in range(count - count // 2):
            # One size, so that nothing is cropped.
            images = [files[number % len(files)]] * _BATCH
            processor.views(images, options)
            yield


def _watch(
    report: Report, name: str, steps: Iterator[None], device: torch.device, expected: int, seconds: float
) -> None:
    watch, stop = Watch(device), report.seconds_left - seconds
    for watch.done, _ in enumerate(steps, 1):
        if watch.done % _EVERY == 0 or expected < 10 * _EVERY:
            synchronize(device)
            watch.read()
            if report.seconds_left < stop:
                break
    gauges: tuple[Gauge, ...] = tuple(_LIMITS_MB) if device.type == "cuda" else ("rss_mb",)
    growth = {gauge: watch.growth(_SETTLED * watch.done, gauge).growth for gauge in gauges}
    flat = all(grown <= _LIMITS_MB[gauge] for gauge, grown in growth.items())
    listed = ", ".join(f"{gauge.removesuffix('_mb')} {grown:+.1f} MB" for gauge, grown in growth.items())
    samples = [asdict(one) for one in watch.samples]
    report.check(f"flat memory, {name}", flat, f"{watch.done} batches: {listed}", limits_mb=_LIMITS_MB, samples=samples)
