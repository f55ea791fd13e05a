"""Does memory stay flat over thousands of batches of small JPEGs? torch's, the GPU's as a whole, and the process's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from gpu_checks.outcome import Report
from gpu_checks.samples import encode
from harness.method import DECODERS, Setting, decoder_refusal

__all__ = ["run"]

BATCHES = 2000
_SETTLED = 0.2  # part of the batches after which memory must not grow any more
_EVERY = 25
_BATCH = 4
_RES = 140
_LIMITS_MB = {"allocated": 4.0, "device": 64.0, "host": 200.0}
"""Growth that still counts as flat: what torch has allocated, what is in use on the GPU, what the process holds."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Half through `batches`, half through calls: by the best way of the machine, then through each decoder, fewer."""
    files = [encode(photo(120 + 8 * place, 90, place)) for place in range(8)]
    count = 40 if quick else BATCHES
    routes: list[tuple[str, dict[str, object], Setting, int]] = [("auto", {}, setting, count)]
    for name in DECODERS:
        if decoder_refusal(name, setting.device) is None:
            traits = DECODERS[name](setting.device.type)
            only = replace(setting, capabilities=replace(setting.capabilities, decoders=(traits,), costs=None))
            fidelity = Fidelity.EXACT if traits.exact else Fidelity.FAST
            how: dict[str, object] = {"strategy": Strategy.GPU_DECODE, "fidelity": fidelity}
            routes.append((f"gpu_decode ({name})", how, only, count // 4))
    for place, (name, how, where, batches) in enumerate(routes):
        with report.guard(name):
            seconds = report.seconds_left / (len(routes) - place)
            _watch(report, name, _steps(where, files, batches, how), setting.device, batches, seconds)


def _steps(setting: Setting, files: list[bytes], count: int, how: dict[str, object]) -> Iterator[None]:
    """One batch a step."""
    with GPUInputProcessor(setting.device, dtype=setting.dtype, capabilities=setting.capabilities) as processor:
        options = {"process_res": _RES, "num_workers": setting.workers, **how}
        inputs = (files[number % len(files)] for number in range(count // 2 * _BATCH))
        for batch in processor.batches(inputs, _BATCH, **options):
            if isinstance(batch, ImageFailure):
                raise batch.error
            yield
        for number in range(count - count // 2):
            # One size, so that nothing is cut.
            processor([files[number % len(files)]] * _BATCH, **options)
            yield


def _watch(
    report: Report, name: str, steps: Iterator[None], device: torch.device, expected: int, seconds: float
) -> None:
    process = psutil.Process()
    gauges: dict[str, Callable[[], float]] = {"host": lambda: process.memory_info().rss / 1e6}
    if device.type == "cuda":
        gauges["allocated"] = lambda: torch.cuda.memory_allocated(device) / 1e6
        gauges["device"] = lambda: _used(device) / 1e6
    samples: dict[str, list[tuple[int, float]]] = {gauge: [] for gauge in gauges}
    stop = report.seconds_left - seconds
    done = 0
    for done, _ in enumerate(steps, 1):
        if done % _EVERY == 0 or expected < 10 * _EVERY:
            synchronize(device)
            for gauge, read in gauges.items():
                samples[gauge].append((done, read()))
            if report.seconds_left < stop:
                break
    growth = {}
    for gauge, listed in samples.items():
        early = [size for at, size in listed if at <= max(_SETTLED * done, listed[0][0])]
        late = [size for at, size in listed if at > _SETTLED * done]
        growth[gauge] = max(late) - max(early)
    flat = all(grown <= _LIMITS_MB[gauge] for gauge, grown in growth.items())
    listed = ", ".join(f"{gauge} {grown:+.1f} MB" for gauge, grown in growth.items())
    report.check(f"flat memory, {name}", flat, f"{done} batches: {listed}", limits_mb=_LIMITS_MB, samples=samples)


def _used(device: torch.device) -> int:
    free, total = torch.cuda.mem_get_info(device)
    return total - free
