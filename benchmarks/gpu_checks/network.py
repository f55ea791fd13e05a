"""Does the network on the GPU agree with itself on the CPU, and how many pictures a second does `stream` give?"""

from __future__ import annotations

import copy
import math
import statistics
import time

import torch
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.synthetic import photo
from depth_anything_3.utils.io.strategy import Strategy
from gpu_checks.outcome import Report
from gpu_checks.samples import encode
from way import Setting

__all__ = ["run"]

_PRESET = "da3-small"
_SEED = 20
_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Scaled difference of the depth: float32 may only round differently, bfloat16 keeps 8 bits."""

_TURNS = 3
_BATCH = 8


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Agreement first, then speed."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = _seeded()
    with report.guard("network, GPU against CPU"):
        _agreement(report, setting, model, 112 if quick else 252)
    with report.guard("stream"):
        _speed(report, setting, model, quick)


def _seeded() -> DepthAnything3:
    """Random weights that let every layer have its say; the same on every machine."""
    model = DepthAnything3(_PRESET)
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                parameter.copy_(0.3 + 0.05 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.02 * noise)
            elif name.endswith("weight") and parameter.ndim == 1:
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(noise / math.sqrt(max(1, math.prod(parameter.shape[1:]))))
    return model


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
