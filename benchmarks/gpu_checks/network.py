"""Does the network on the GPU agree with itself on the CPU, how fast is each preset, and what does `stream` give?"""

from __future__ import annotations

import copy
import statistics
import time
from argparse import Namespace

import torch
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.model.catalog import MODEL_CARDS
from gpu_checks.outcome import Report
from gpu_checks.samples import encode
from harness.method import Setting
from network_benchmark import layouts, seed_weights, throughput

__all__ = ["run"]

_PRESET = "da3-small"
_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Scaled difference of the depth: float32 may only round differently, bfloat16 keeps 8 bits."""

_TURNS = 3
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
        _speed(report, setting, model, quick)
    torch.backends.cudnn.allow_tf32 = True  # torch's default again, which users have
    options = Namespace(rounds=1 if quick else _ROUNDS, seconds=_CASE_SECONDS)
    size_hw = (70, 98) if quick else _SIZE_HW
    with report.guard("layout of the heads"):
        _layouts(report, setting.device, size_hw, quick, options)
    with report.guard("throughput of the networks"):
        _throughput(report, setting.device, size_hw, quick, options)


def _agreement(report: Report, setting: Setting, model: nn.Module, res: int) -> None:
    """One small picture, the same pixels: float32 on the CPU is the yardstick."""
    picture = photo(320, 240, 1)
    yardstick = _depth(copy.deepcopy(model), picture, torch.device("cpu"), torch.float32, res)
    for dtype, bound in _BOUNDS.items():
        depth = _depth(model, picture, setting.device, dtype, res)
        scaled = float((depth - yardstick).norm() / yardstick.norm())
        what = f"network in {str(dtype).removeprefix('torch.')} on {setting.device.type} against float32 on the CPU"
        report.check(what, scaled <= bound, f"scaled difference of depth {scaled:.2g} (bound {bound:g})", scaled=scaled)


def _depth(model: DepthAnything3, picture: object, device: torch.device, dtype: torch.dtype, res: int) -> torch.Tensor:
    model.to(device)
    model.compute_dtype = dtype
    # Pixels take the CPU's way, whose result is the same everywhere.
    (prediction,) = model.depth([picture], process_res=res, strategy=Strategy.CPU)
    return torch.from_numpy(prediction.depth).double()


def _speed(report: Report, setting: Setting, model: DepthAnything3, quick: bool) -> None:
    size = (640, 480) if quick else (1920, 1080)
    files = [encode(photo(*size, seed)) for seed in range(2 if quick else 8)]
    count, res = (4, 112) if quick else (96, 504)
    inputs = [files[place % len(files)] for place in range(count)]
    model.to(setting.device)
    model.compute_dtype = None
    strategies = [Strategy.AUTO, Strategy.CPU]
    if setting.device.type == "cuda":
        strategies += [Strategy.HYBRID, *([Strategy.GPU_DECODE] if setting.capabilities.decoders else [])]
    speeds: dict[str, list[float]] = {one.value: [] for one in strategies}
    took = {}
    for turn in range(1 + (1 if quick else _TURNS)):
        for strategy in strategies:
            if turn and report.seconds_left < 5:
                break
            began = time.perf_counter()
            predictions = list(
                model.stream(inputs, batch_size=_BATCH, process_res=res, num_workers=setting.workers, strategy=strategy)
            )
            seconds = time.perf_counter() - began
            took[strategy.value] = predictions[-1].choices[0].reason
            if turn:  # the first one warms up
                speeds[strategy.value].append(count / seconds)
    for name, listed in speeds.items():
        if listed:
            text = f"{statistics.median(listed):.1f} images/s, {size[0]}x{size[1]} at {res} ({took[name]})"
            report.measured(f"stream of {_PRESET}, strategy {name}", text, images_per_second=listed)


def _layouts(report: Report, device: torch.device, size_hw: tuple[int, int], quick: bool, options: Namespace) -> None:
    """Channels first against channels last, for one view and several."""
    with torch.device(device):
        net = DepthAnything3Net(_PRESET if quick else "da3-large").eval().requires_grad_(False)
    for views in (1,) if quick else (1, 8):
        found = layouts(net, views, size_hw, device, options)
        times = ", ".join(f"{name} {found[f'{name}_ms']:.2f}" for name in ("as_is", "contiguous", "channels_last"))
        report.measured(f"head of {net.preset.name}, {views} views", f"{times} ms", **found)


def _throughput(
    report: Report, device: torch.device, size_hw: tuple[int, int], quick: bool, options: Namespace
) -> None:
    """Every preset that fits, in batches of independent pictures, in the device's usual precision."""
    for preset in (_PRESET,) if quick else MODEL_CARDS:
        if not quick and report.seconds_left < _SECONDS_FOR_A_PRESET:
            report.skipped(f"throughput of {preset}", "no time left")
            continue
        for found in throughput(preset, (1, 2) if quick else _VIEWS, size_hw, device, options):
            name = f"{preset}, {found['views']} pictures at a time, {found['dtype']}"
            if "missing" in found:
                report.skipped(name, found["missing"])
                continue
            memory = "" if found["peak_gb"] is None else f", peak {found['peak_gb']:.1f} GB"
            report.measured(name, f"{found['images_per_second']:.1f} images/s at {found['size']}{memory}", **found)
        if device.type == "cuda":
            torch.cuda.empty_cache()
