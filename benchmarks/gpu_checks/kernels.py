"""Time resampling and normalisation on the GPU, against the time to read the decoded bytes once.

Launches are queued behind a pause, which hides the time of the host. Input sets take turns, so that none is cached.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.resample.gpu import GPUResampler, available_resamplers, open_resampler
from depth_anything_3.runtime.devices import synchronize
from gpu_checks.outcome import Report
from harness.method import Setting

__all__ = ["SIZES", "ResamplerTime", "run", "time_resampler"]

SIZES = {"FHD": (1080, 1920), "4K": (2160, 3840)}
"""Name to (height, width)."""

_BATCH = 4
_REPEATS = 9
_CALLS = 16
_CACHES = 4  # the input sets together are this many times the cache
_TIMES_FLOOR = 2.0
_PAUSE_CYCLES = 40_000_000  # of the GPU's clock, 20 ms or more; the launches must be queued by then
_COPY_BYTES = 2**31


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Time every resampler with both sizes and both layouts that decoders return."""
    device = setting.device
    bandwidth = _copy_bandwidth(device, 2**24 if quick else _COPY_BYTES)
    report.measured("copy on the device", f"{bandwidth / 1e9:.0f} GB/s read and written", bytes_per_second=bandwidth)
    exact = available_resamplers(device)
    for name in exact if quick else (*exact, "kornia"):
        for size, source_hw in SIZES.items():
            for layout in ("interleaved", "planar") if name in exact else ("planar",):
                if quick and (size, layout) != ("FHD", "planar"):
                    continue
                with report.guard(f"{name}, {size}, {layout}"):
                    _resample(report, setting, name, size, source_hw, layout, bandwidth)
        with report.guard(f"normalise alone, {name}"):
            _normalise(report, setting, name, bandwidth)


def _copy_bandwidth(device: torch.device, size: int) -> float:
    """Measure the copy bandwidth in bytes per second, read plus written."""
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    ms, _ = _time(lambda call: target.copy_(source), device, calls=4)
    return 2 * size / (ms / 1e3)


class ResamplerTime(NamedTuple):
    """Milliseconds for a batch on the device and on the host, and the number of input sets that took turns."""

    device_ms: float
    host_ms: float
    input_sets: int


def time_resampler(setting: Setting, name: str, source_hw: tuple[int, int], layout: str) -> ResamplerTime:
    """Time resampling and normalising a batch of decoded images.

    Args:
        name: of the resampler.
        source_hw: (height, width) of the images.
        layout: "interleaved" or "planar", as decoders return them.
    """
    device = setting.device
    decoded = _BATCH * source_hw[0] * source_hw[1] * 3
    sets = [_images(device, source_hw, layout) for _ in range(_sets(device, decoded))]
    plan = plan_resize(source_hw)
    shape = (_BATCH, 3, *plan.result_hw)
    pixels = torch.full(shape, 77, dtype=torch.uint8, device=device)
    normalized = torch.full(shape, float("nan"), dtype=setting.dtype, device=device)
    resampler = open_resampler(name, device)
    slots = list(range(_BATCH))

    def call(number: int) -> None:
        resampler(sets[number % len(sets)], plan, slots, pixels, normalized)

    ms, host_ms = _time(call, device, calls=_calls(name, device))
    assert not normalized.isnan().any(), "values were left unwritten"
    return ResamplerTime(ms, host_ms, len(sets))


def _resample(
    report: Report, setting: Setting, name: str, size: str, source_hw: tuple[int, int], layout: str, bandwidth: float
) -> None:
    ms, host_ms, input_sets = time_resampler(setting, name, source_hw, layout)
    floor_ms = 1e3 * _BATCH * source_hw[0] * source_hw[1] * 3 / bandwidth
    text = f"{ms:.3f} ms for {_BATCH}, {ms / floor_ms:.1f} times the floor of {floor_ms:.3f}; host {host_ms:.2f} ms"
    data = {"ms": ms, "floor_ms": floor_ms, "host_ms": host_ms, "input_sets": input_sets}
    what = f"resample + normalise, {name}, {size}, {layout}"
    if name == available_resamplers(setting.device)[0]:
        verdict = "met" if ms <= _TIMES_FLOOR * floor_ms else "MISSED"
        text = f"{verdict} (at most {_TIMES_FLOOR:g} times the floor): {text}"
    report.measured(what, text, **data)


def _calls(name: str, device: torch.device) -> int:
    """Limit the calls: all launches must be queued during the pause, and the naive method has many."""
    if device.type != "cuda":
        return 1
    return _CALLS if name == "triton" else 2


def _images(device: torch.device, source_hw: tuple[int, int], layout: str) -> list[torch.Tensor]:
    """Make smooth images with noise, each in its own memory, like decoders' results."""
    images = []
    for _ in range(_BATCH):
        coarse = torch.rand(1, 3, 32, 32, device=device)
        full = torch.nn.functional.interpolate(coarse, source_hw, mode="bilinear")[0] * 230
        full = (full + 25 * torch.rand(full.shape, device=device)).to(torch.uint8)
        images.append(
            full.permute(1, 2, 0).contiguous() if layout == "interleaved" else full.contiguous().permute(1, 2, 0)
        )
    return images


def _sets(device: torch.device, set_bytes: int) -> int:
    if device.type != "cuda":
        return 1
    cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0) or 64 * 2**20
    return max(2, -(-_CACHES * cache // set_bytes))


def _normalise(report: Report, setting: Setting, name: str, bandwidth: float) -> None:
    device = setting.device
    resampler: GPUResampler = open_resampler(name, device)
    for batch in (_BATCH, 64):
        pixels = torch.randint(0, 256, (batch, 3, 280, 504), dtype=torch.uint8, device=device)
        normalized = torch.empty(pixels.shape, dtype=setting.dtype, device=device)
        slots = list(range(batch))
        ms, host_ms = _time(
            partial(_normalise_once, resampler, pixels, slots, normalized),
            device,
            calls=_calls(name, device),
        )
        moved = pixels.numel() * (1 + normalized.element_size())
        rate = moved / (ms / 1e3) / bandwidth
        text = f"{1e3 * ms:.1f} us for {batch}, {rate:.2f} of the copy's rate; host {host_ms:.2f} ms"
        report.measured(f"normalise alone, {name}, {batch} images", text, ms=ms, host_ms=host_ms)


def _normalise_once(
    resampler: GPUResampler, pixels: torch.Tensor, slots: list[int], normalized: torch.Tensor, _number: int
) -> None:
    resampler.normalize(pixels, slots, normalized)


def _time(call: Callable[[int], object], device: torch.device, *, calls: int) -> tuple[float, float]:
    """Measure milliseconds per call on the device and on the host; medians."""
    on_device, on_host = [], []
    for warm in range(3):
        call(warm)
    for repeat in range(_REPEATS if device.type == "cuda" else 1):
        synchronize(device)
        if device.type != "cuda":
            began = time.perf_counter()
            for number in range(calls):
                call(number)
            on_host.append(1e3 * (time.perf_counter() - began) / calls)
            on_device.append(on_host[-1])
            continue
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(_PAUSE_CYCLES)
        start.record()
        began = time.perf_counter()
        for number in range(calls):
            call(repeat * calls + number)
        on_host.append(1e3 * (time.perf_counter() - began) / calls)
        end.record()
        synchronize(device)
        on_device.append(start.elapsed_time(end) / calls)
    return statistics.median(on_device), statistics.median(on_host)
