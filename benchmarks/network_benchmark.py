"""Measure the network: against the authors' arithmetic, by memory layout and precision, its memory, and on a GPU.

    uv run python benchmarks/network_benchmark.py reference --presets da3-small da3-base --views 1 4
    uv run python benchmarks/network_benchmark.py layout --presets da3-small da3-large
    uv run python benchmarks/network_benchmark.py precision --presets da3-small da3mono-large
    uv run python benchmarks/network_benchmark.py memory --presets da3-small da3-giant --size 504x336
    uv run python benchmarks/network_benchmark.py speed --views 1 8 32      # on CUDA, every preset that fits

Weights are random with a fixed seed. Inputs are normalised photo-like images; reading and resizing are not timed.
`reference` compares with the same network and weights without our optimisations (`as_the_reference`). Networks take
turns in an order that changes each round; a ratio is the median of the ratios of single turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net, build_network
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.dpt import DptTrunk, FusionBlock, resize_map
from depth_anything_3.model.dual_dpt import DualDptHead
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.model.position_table import interpolate_position_table
from depth_anything_3.model.rope import RotaryTable, in_view_positions, rotary_table
from depth_anything_3.model.table_cache import TableCache
from depth_anything_3.runtime.devices import choose_device, default_dtype
from harness.images import parse_size
from harness.machine import describe_machine
from harness.report import as_json
from harness.timing import Timing, take_turns, timed

__all__ = ["Plan", "as_the_reference", "autocast", "layouts", "memory", "network_inputs", "seed_weights", "speed"]

Network = DepthAnything3Net | NestedDepthAnything3Net
Found = dict[str, Any]  # Any: plain JSON values

DepthCall = Callable[[], Mapping[str, Any]]  # Any: what a network or head returns, its depth among it

_SEED = 20
_REFERENCE_CHUNK = 8  # views that the authors' heads take at a time


class Plan(NamedTuple):
    """Size, device and length of every measurement.

    Attributes:
        size_hw: (height, width), multiples of 14.
        device: of the networks.
        rounds: timed turns.
        seconds: after which no further round begins.
    """

    size_hw: tuple[int, int]
    device: torch.device
    rounds: int
    seconds: float


def seed_weights(module: nn.Module) -> nn.Module:
    """Set random weights with which every layer affects the result; the same on every machine."""
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                noise.mul_(0.05).add_(0.3)
            elif name.endswith("bias"):
                noise.mul_(0.02)
            elif name.endswith("weight") and parameter.ndim == 1:
                noise.mul_(0.1).add_(1)
            else:
                noise.div_(math.sqrt(max(1, math.prod(parameter.shape[1:]))))
            parameter.copy_(noise)
    return module.eval().requires_grad_(False)


def seeded_network(preset: str) -> Network:
    """Make the network of a preset on the CPU."""
    with torch.device("meta"):
        net = build_network(preset)
    net.to_empty(device="cpu")
    seed_weights(net)
    return net


def network_inputs(views: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Make normalised images `(1, views, 3, H, W)`."""
    height, width = size_hw
    pixels = torch.stack([torch.from_numpy(photo(width, height, seed).copy()) for seed in range(views)])
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()[None].to(device)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast the backbone to low precision; do nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)


# The authors' arithmetic


class _NoCache(TableCache[Any]):
    def get(self, key: Hashable, device: torch.device, make: Callable[[], Any]) -> Any:
        return make()


def _twin(net: DepthAnything3Net) -> DepthAnything3Net:
    """Make another network that shares the weights' memory."""
    with torch.device("meta"):
        twin = DepthAnything3Net(net.preset)
    twin.load_state_dict(net.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)


def as_the_reference(net: DepthAnything3Net, views: int) -> DepthAnything3Net:
    """Make a twin that computes what the authors' implementation computes, for a number of views.

    Tables are made anew in every call; attention across views rotates all tokens; the fusion blocks of the heads resize
    before their 1x1 convolution; rays are always evaluated; heads take eight views at a time, channels first for one.
    """
    twin = _twin(net)
    backbone: Any = twin.backbone["pretrained"]  # Any: some of its methods are replaced
    backbone._position_tables = interpolate_position_table

    def rotations(grid: tuple[int, int], device: torch.device) -> tuple[RotaryTable, RotaryTable]:
        head_dim = net.preset.width // net.preset.heads
        positions = in_view_positions(*grid, device)
        across = positions.clamp_max(1).repeat(views, 1)
        return rotary_table(positions, head_dim), rotary_table(across, head_dim)

    def fuse(block: FusionBlock, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        if block.resConfUnit1 is not None:
            top = top + block.resConfUnit1(lateral)
        fused: Tensor = block.out_conv(resize_map(block.resConfUnit2(top), size))
        return fused

    def head_options(head: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rays = {"with_rays": True} if isinstance(head, DualDptHead) else {}
        return args, {**kwargs, **rays, "views_at_once": _REFERENCE_CHUNK}

    backbone._rotations = rotations
    for module in twin.modules():
        if isinstance(module, FusionBlock):
            module.forward = MethodType(fuse, module)  # type: ignore[method-assign]
        if isinstance(module, DptTrunk) and module.uv is not None:
            module.uv._tables = _NoCache()
    twin.head.register_forward_pre_hook(head_options, with_kwargs=True)
    if views == 1:
        _contiguous(twin.head)
    return twin


def compare_with_reference(preset: str, views: int, plan: Plan) -> list[Found]:
    """Time both, in float32 and bfloat16, and compare their results."""
    net = seeded_network(preset).to(plan.device)
    assert isinstance(net, DepthAnything3Net)
    reference, x = as_the_reference(net, views), network_inputs(views, plan.size_hw, plan.device)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(plan.device, dtype):
            timings, depths = _time_depth({"reference": partial(reference, x), "ours": partial(net, x)}, plan)
        found.append(
            {
                **_described(preset, views, plan.size_hw, dtype),
                **_times(timings),
                "times_faster": timings["ours"].times_faster_than(timings["reference"]),
                "difference": _relative(depths["ours"], depths["reference"]),
            }
        )
    return found


# Layout of the heads' maps


def _contiguous(head: DptTrunk) -> DptTrunk:
    """Run a head channels first."""
    for project in head.projects:
        project.register_forward_pre_hook(lambda _module, args: (args[0].contiguous(),))
    return head


def _channels_last(head: DptTrunk) -> DptTrunk:
    """Run a head channels last, including its weights."""
    return head.to(memory_format=torch.channels_last)


def layouts(net: DepthAnything3Net, views: int, plan: Plan) -> Found:
    """Time the head alone: as it is, channels first, and channels last with its weights."""
    patches = math.prod(plan.size_hw) // 196
    features = [torch.randn(1, views, patches, net.preset.feature_width, device=plan.device) for _ in range(4)]
    heads = {
        "as_is": net.head,
        "contiguous": _contiguous(copy.deepcopy(net.head)),
        "channels_last": _channels_last(copy.deepcopy(net.head)),
    }
    calls = {name: partial(_head_maps, head, features, plan.size_hw) for name, head in heads.items()}
    timings, depths = _time_depth(calls, plan)
    return {
        **_described(net.preset.name, views, plan.size_hw, torch.float32),
        **_times(timings),
        "difference": max(_relative(depths[name], depths["as_is"])["p99"] for name in heads),
    }


def _head_maps(head: DptTrunk, features: list[Tensor], size_hw: tuple[int, int]) -> Mapping[str, Any]:
    maps: Mapping[str, Any] = head(features, size_hw)._asdict()  # Any: tensors, and None for rays
    return maps


# Precision


def precision(preset: str, size_hw: tuple[int, int], device: torch.device) -> Found:
    """Compute the relative difference of depth in bfloat16 from float32."""
    net, x = seeded_network(preset).to(device), network_inputs(1, size_hw, device)
    depths = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), autocast(device, dtype):
            depths.append(net(x)["depth"].float())
    return {**_described(preset, 1, size_hw, torch.bfloat16), "difference": _relative(depths[1], depths[0])}


# Memory


class _LiveTensors(TorchDispatchMode):
    """Within the block, record the peak number of bytes of the tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # Any: torch's own
        out = func(*args, **(kwargs or {}))
        self._live = {key: one for key, one in self._live.items() if not one[0].expired()}
        known = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and storage._cdata not in known:  # else a view, or written in place
                self._live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out


def memory(preset: str, size_hw: tuple[int, int], device: torch.device) -> Found:
    """Measure the bytes of the weights and the peak of one image, both with the backbone in bfloat16.

    Counted, so it is the same on every machine. What operations need inside, such as a convolution's workspace, is not
    in it, nor what a CUDA context and the allocator's rounding take.
    """
    with torch.device("meta"):
        net = build_network(preset).eval().requires_grad_(False)
    net.to_empty(device=device)
    for parameter in net.parameters():
        parameter.zero_()
    use_matrix_dtype(net, torch.bfloat16)
    x, live = network_inputs(1, size_hw, device), _LiveTensors()
    with torch.inference_mode(), autocast(device, torch.bfloat16), live:
        net(x)
    weights = sum(one.nbytes for one in net.parameters())
    return {
        **_described(preset, 1, size_hw, torch.bfloat16),
        "weights_gb": weights / 1e9,
        "tensors_gb": live.peak / 1e9,
    }


# Speed


def speed(preset: str, views: Sequence[int], plan: Plan) -> list[Found]:
    """Measure images per second and peak memory in batches; a row gives the reason if a batch does not fit."""
    device = plan.device
    with torch.device(device):
        net = build_network(preset).eval().requires_grad_(False)
    found = []
    dtype = default_dtype(device)
    for count in views:
        described = _described(preset, count, plan.size_hw, dtype)
        x = network_inputs(count, plan.size_hw, device).transpose(0, 1)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with autocast(device, dtype):
            timings, _ = _time_depth({"ours": partial(net, x)}, plan, catch=(torch.OutOfMemoryError,))
        timing = timings["ours"]
        if timing.failure:
            found.append({**described, "missing": "out of memory"})
            break
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        images_per_second = 1e3 * count / timing.median_ms
        found.append(
            {**described, "rounds": len(timing.turns), "images_per_second": images_per_second, "peak_gb": peak}
        )
    return found


def _time_depth(
    calls: Mapping[str, DepthCall], plan: Plan, catch: tuple[type[Exception], ...] = ()
) -> tuple[dict[str, Timing], dict[str, Tensor]]:
    """Time each call, and return its depth."""
    depths: dict[str, Tensor] = {}

    def call(name: str) -> None:
        depths[name] = calls[name]()["depth"]

    steps = {name: timed(partial(call, name), plan.device) for name in calls}
    with torch.inference_mode():
        return take_turns(steps, rounds=plan.rounds, seconds=plan.seconds, catch=catch), depths


def _times(timings: Mapping[str, Timing]) -> Found:
    rounds = min(len(one.turns) for one in timings.values())
    return {"rounds": rounds, **{f"{name}_ms": one.median_ms for name, one in timings.items()}}


def _described(preset: str, views: int, size_hw: tuple[int, int], dtype: torch.dtype) -> Found:
    size = f"{size_hw[1]}x{size_hw[0]}"
    return {"preset": preset, "views": views, "size": size, "dtype": str(dtype).removeprefix("torch.")}


def _relative(depth: Tensor, reference: Tensor) -> dict[str, float]:
    """Median and 99th percentile of the relative difference of pixels."""
    differences = ((depth - reference).abs() / reference).flatten().sort().values
    return {name: float(differences[int(q * (len(differences) - 1))]) for name, q in (("median", 0.5), ("p99", 0.99))}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("reference", "layout", "precision", "memory", "speed"))
    parser.add_argument(
        "--presets", nargs="+", choices=MODEL_CARDS, help="default: all of memory and speed; else da3-small, da3-base"
    )
    parser.add_argument("--views", nargs="+", type=int, default=[1])
    parser.add_argument("--size", default="504x280", help="WIDTHxHEIGHT, multiples of 14")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=40.0, help="time after which a case starts no further round")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    device = choose_device(options.device)
    width, height = parse_size(options.size)
    plan = Plan((height, width), device, options.rounds, options.seconds)
    machine = describe_machine(device)
    print(json.dumps(machine, indent=1))
    rows: list[Found] = []
    usual = MODEL_CARDS if options.what in ("memory", "speed") else ("da3-small", "da3-base")
    for preset in options.presets or usual:
        for row in _measure(options.what, preset, options.views, plan):
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.json:
        options.json.write_text(as_json(machine, rows), encoding="utf-8")


def _measure(what: str, preset: str, views: Sequence[int], plan: Plan) -> list[Found]:
    if what == "speed":
        return speed(preset, views, plan)
    if what == "precision":
        return [precision(preset, plan.size_hw, plan.device)]
    if what == "memory":
        return [memory(preset, plan.size_hw, plan.device)]
    if what == "layout":
        net = seeded_network(preset).to(plan.device)
        assert isinstance(net, DepthAnything3Net), f"{preset} has two heads"
        return [layouts(net, count, plan) for count in views]
    return [row for count in views for row in compare_with_reference(preset, count, plan)]


if __name__ == "__main__":
    main()
