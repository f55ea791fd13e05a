"""Compare the network on the GPU with the CPU, and measure the speed of each preset and of `stream`."""

from __future__ import annotations

import copy
import statistics
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.model.catalog import MODEL_CARDS
from gpu_checks.outcome import Report
from gpu_checks.samples import strategies_here
from harness.images import encode
from harness.method import Setting
from harness.network_plan import Plan
from harness.seeded_network import seed_weights
from harness.timing import take_turns, timed
from network_benchmark import layouts, speed

__all__ = ["run"]

_PRESET = "da3-small"
_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Scaled difference of the depth: float32 may only round differently, bfloat16 keeps 8 bits."""

_TURNS = 3
_SPARE_SECONDS = 5.0  # left for the rest of the section
_BATCH = 8

_SIZE_HW = (336, 504)
_VIEWS = (1, 8, 32)
_ROUNDS = 9
_CASE_SECONDS = 2.0
_SECONDS_FOR_A_PRESET = 8.0  # to build it and time it; the largest take longest and come last


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Agreement first, then speed."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = DepthAnything3(_PRESET)
    seed_weights(model)
    with report.guard("network, GPU against CPU"):
        _agreement(report, setting, model, 112 if quick else 252)
    with report.guard("stream"):
        _stream(report, setting, model, quick)
    torch.backends.cudnn.allow_tf32 = True  # torch's default again, which users have
    plan = Plan((70, 98) if quick else _SIZE_HW, setting.device, 1 if quick else _ROUNDS, _CASE_SECONDS)
    with report.guard("layout of the heads"):
        _layouts(report, plan, quick)
    with report.guard("speed of the networks"):
        _speed(report, plan, quick)


def _agreement(report: Report, setting: Setting, model: DepthAnything3, res: int) -> None:
    """Compare one small image, with the same pixels, against float32 on the CPU."""
    image = photo(320, 240, 1)
    yardstick = _depth(copy.deepcopy(model), image, torch.device("cpu"), torch.float32, res)
    for dtype, bound in _BOUNDS.items():
        depth = _depth(model, image, setting.device, dtype, res)
        scaled = float((depth - yardstick).norm() / yardstick.norm())
        what = f"network in {str(dtype).removeprefix('torch.')} on {setting.device.type} against float32 on the CPU"
        report.check(what, scaled <= bound, f"scaled difference of depth {scaled:.2g} (bound {bound:g})", scaled=scaled)


def _depth(
    model: DepthAnything3, image: npt.NDArray[np.uint8], device: torch.device, dtype: torch.dtype, res: int
) -> torch.Tensor:
    model.to(device)
    model.engine.compute_dtype = dtype
    # The CPU strategy gives the same pixels everywhere.
    (prediction,) = model.depth([image], process_res=res, strategy=Strategy.CPU)
    return torch.from_numpy(prediction.depth).double()


def _stream(report: Report, setting: Setting, model: DepthAnything3, quick: bool) -> None:
    """Measure images per second of `stream`, by strategy."""
    size = (640, 480) if quick else (1920, 1080)
    files = [encode(photo(*size, seed)) for seed in range(2 if quick else 8)]
    count, res = (4, 112) if quick else (96, 504)
    inputs = [files[place % len(files)] for place in range(count)]
    model.to(setting.device)
    model.engine.compute_dtype = None
    reasons: dict[str, str] = {}

    def stream(strategy: Strategy) -> None:
        for prediction in model.stream(
            inputs, batch_size=_BATCH, process_res=res, num_workers=setting.workers, strategy=strategy
        ):
            reasons[strategy.value] = prediction.choices[0].reason

    calls = {one.value: timed(partial(stream, one)) for one in strategies_here(setting)}
    timings = take_turns(calls, rounds=1 if quick else _TURNS, seconds=report.seconds_left - _SPARE_SECONDS)
    for name, timing in timings.items():
        speeds = [1e3 * count / ms for ms in timing.times_ms]
        text = f"{statistics.median(speeds):.1f} images/s, {size[0]}x{size[1]} at {res} ({reasons[name]})"
        report.measured(f"stream of {_PRESET}, strategy {name}", text, images_per_second=speeds)


def _layouts(report: Report, plan: Plan, quick: bool) -> None:
    """Compare channels first with channels last, for one view and several."""
    with torch.device(plan.device):
        net = DepthAnything3Net(_PRESET if quick else "da3-large").eval().requires_grad_(False)
    for views in (1,) if quick else (1, 8):
        found = layouts(net, views, plan)
        times = ", ".join(f"{name} {found[f'{name}_ms']:.2f}" for name in ("as_is", "contiguous", "channels_last"))
        report.measured(f"head of {net.preset.name}, {views} views", f"{times} ms", **found)


def _speed(report: Report, plan: Plan, quick: bool) -> None:
    """Time every preset that fits, in batches of independent images, in the device's default precision."""
    for preset in (_PRESET,) if quick else MODEL_CARDS:
        if not quick and report.seconds_left < _SECONDS_FOR_A_PRESET:
            report.skipped(f"speed of {preset}", "no time left")
            continue
        for found in speed(preset, (1, 2) if quick else _VIEWS, plan):
            name = f"{preset}, {found['views']} images at a time, {found['dtype']}"
            if "missing" in found:
                report.skipped(name, found["missing"])
                continue
            memory = "" if found["peak_gb"] is None else f", peak {found['peak_gb']:.1f} GB"
            report.measured(name, f"{found['images_per_second']:.1f} images/s at {found['size']}{memory}", **found)
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
