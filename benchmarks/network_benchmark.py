"""What the network takes: against the authors' arithmetic, by layout and precision, in memory, and on a GPU.

    uv run python benchmarks/network_benchmark.py reference --presets da3-small da3-base --views 1 4
    uv run python benchmarks/network_benchmark.py layout --presets da3-small da3-large
    uv run python benchmarks/network_benchmark.py precision --presets da3-small da3mono-large
    uv run python benchmarks/network_benchmark.py memory --presets da3-small da3-giant --size 504x336
    uv run python benchmarks/network_benchmark.py throughput --views 1 8 32      # on CUDA, every preset that fits

Weights are seeded random ones and inputs photo-like pictures, normalised; neither reading nor resizing them is timed.
`reference` is the same network with the same weights and what ours does not do switched on again (`as_the_reference`).
Ways take turns in an order that changes from turn to turn; a ratio is the median of the ratios of single turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MethodType
from typing import Any

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
from depth_anything_3.model.position_table import interpolate_position_table
from depth_anything_3.model.rope import RotaryTable, in_view_positions, rotary_table
from depth_anything_3.model.table_cache import TableCache
from depth_anything_3.runtime.devices import choose_device, default_dtype, synchronize
from harness.machine import describe_machine

__all__ = ["as_the_reference", "layouts", "network_inputs", "seed_weights", "throughput"]

Network = DepthAnything3Net | NestedDepthAnything3Net
Found = dict[str, Any]  # Any: plain JSON values

_SEED = 20
_REFERENCE_CHUNK = 8  # views that the authors' heads take at a time


def seed_weights(module: nn.Module) -> nn.Module:
    """Random weights that let every layer have its say; the same on every machine."""
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
    """A preset's network on the CPU."""
    with torch.device("meta"):
        net = build_network(preset)
    net.to_empty(device="cpu")
    seed_weights(net)
    return net


def network_inputs(views: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """`(1, views, 3, H, W)` normalised pictures."""
    height, width = size_hw
    pixels = torch.stack([torch.from_numpy(photo(width, height, seed).copy()) for seed in range(views)])
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()[None].to(device)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Low precision for the backbone, or none for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)


# The authors' arithmetic


class _NothingKept(TableCache[Any]):
    def get(self, key: object, device: torch.device, make: Callable[[], Any]) -> Any:
        return make()


def _twin(net: DepthAnything3Net) -> DepthAnything3Net:
    """Another network with the same weights, in the same memory."""
    with torch.device("meta"):
        twin = DepthAnything3Net(net.preset)
    twin.load_state_dict(net.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)


def as_the_reference(net: DepthAnything3Net, views: int) -> DepthAnything3Net:
    """A twin that computes what the authors' implementation computes, for scenes of so many views.

    Tables are made anew in every call; attention across views rotates all tokens; the fusion blocks of the heads resize
    before their 1x1 convolution; rays are always evaluated; heads take eight views at a time, channels first for one.
    """
    twin = _twin(net)
    backbone = twin.backbone["pretrained"]
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
            module.forward = MethodType(fuse, module)
        if isinstance(module, DptTrunk) and module.uv is not None:
            module.uv._tables = _NothingKept()
    twin.head.register_forward_pre_hook(head_options, with_kwargs=True)
    if views == 1:
        _contiguous(twin.head)
    return twin


def compare_with_reference(
    preset: str, views: int, size_hw: tuple[int, int], device: torch.device, options: argparse.Namespace
) -> list[Found]:
    """Times of both, in float32 and bfloat16, and how far the results lie apart."""
    net = seeded_network(preset).to(device)
    assert isinstance(net, DepthAnything3Net)
    reference, x = as_the_reference(net, views), network_inputs(views, size_hw, device)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(device, dtype):
            times, depths = take_turns({"reference": lambda: reference(x), "ours": lambda: net(x)}, device, options)
        ratio = statistics.median(a / b for a, b in zip(times["reference"], times["ours"], strict=True))
        found.append(
            {
                **_case(preset, views, size_hw, dtype),
                "rounds": len(times["ours"]),
                **{f"{name}_ms": 1e3 * statistics.median(listed) for name, listed in times.items()},
                "times_faster": ratio,
                "difference": _relative(depths["ours"], depths["reference"]),
            }
        )
    return found


# Layout of the heads' maps


def _contiguous(head: DptTrunk) -> DptTrunk:
    """Have a head work channels first."""
    for project in head.projects:
        project.register_forward_pre_hook(lambda _module, args: (args[0].contiguous(),))
    return head


def _channels_last(head: DptTrunk) -> DptTrunk:
    """Have a head work channels last, its weights included."""
    return head.to(memory_format=torch.channels_last)


def layouts(
    net: DepthAnything3Net, views: int, size_hw: tuple[int, int], device: torch.device, options: argparse.Namespace
) -> Found:
    """Milliseconds of the head alone: as it is, channels first, and channels last with its weights."""
    patches = math.prod(size_hw) // 196
    features = [torch.randn(1, views, patches, net.preset.feature_width, device=device) for _ in range(4)]
    heads = {
        "as_is": net.head,
        "contiguous": _contiguous(copy.deepcopy(net.head)),
        "channels_last": _channels_last(copy.deepcopy(net.head)),
    }
    ways = {name: (lambda head=head: head(features, size_hw)._asdict()) for name, head in heads.items()}
    times, depths = take_turns(ways, device, options)
    return {
        **_case(net.preset.name, views, size_hw, torch.float32),
        "rounds": len(times["as_is"]),
        **{f"{name}_ms": 1e3 * statistics.median(listed) for name, listed in times.items()},
        "difference": max(_relative(depths[name], depths["as_is"])["p99"] for name in heads),
    }


# Precision


def precision(preset: str, size_hw: tuple[int, int], device: torch.device) -> Found:
    """How far depth in bfloat16 lies from float32, as a share of it."""
    net, x = seeded_network(preset).to(device), network_inputs(1, size_hw, device)
    depths = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), autocast(device, dtype):
            depths.append(net(x)["depth"].float())
    return {**_case(preset, 1, size_hw, torch.bfloat16), "difference": _relative(depths[1], depths[0])}


# Memory


class _LiveTensors(TorchDispatchMode):
    """Within the block, how many bytes the tensors that operations made take at most at a time."""

    def __init__(self) -> None:
        super().__init__()
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
    """Bytes of the float32 weights, and at most of the tensors of one picture with the backbone in bfloat16.

    Counted, so it is the same on every machine. What operations need inside, such as a convolution's workspace, is not
    in it, nor what a CUDA context and the allocator's rounding take.
    """
    with torch.device("meta"):
        net = build_network(preset).eval().requires_grad_(False)
    net.to_empty(device=device)
    for parameter in net.parameters():
        parameter.zero_()
    x, live = network_inputs(1, size_hw, device), _LiveTensors()
    with torch.inference_mode(), autocast(device, torch.bfloat16), live:
        net(x)
    weights = sum(one.nbytes for one in net.parameters())
    return {**_case(preset, 1, size_hw, torch.bfloat16), "weights_gb": weights / 1e9, "tensors_gb": live.peak / 1e9}


# Throughput


def throughput(
    preset: str, views: Sequence[int], size_hw: tuple[int, int], device: torch.device, options: argparse.Namespace
) -> list[Found]:
    """Images a second and peak memory of independent pictures in batches; what does not fit is told."""
    with torch.device(device):
        net = build_network(preset).eval().requires_grad_(False)
    found = []
    dtype = default_dtype(device)
    for count in views:
        case = _case(preset, count, size_hw, dtype)
        x = network_inputs(count, size_hw, device).transpose(0, 1)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            with autocast(device, dtype):
                times, _ = take_turns({"ours": lambda x=x: net(x)}, device, options)
        except torch.OutOfMemoryError:
            found.append({**case, "missing": "out of memory"})
            break
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        speed = count / statistics.median(times["ours"])
        found.append({**case, "rounds": len(times["ours"]), "images_per_second": speed, "peak_gb": peak})
    return found


def take_turns(
    ways: Mapping[str, Callable[[], Mapping[str, Any]]], device: torch.device, options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of each way in each turn, and its depth. One turn warms up; none begins after `options.seconds`."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    depths = {}
    began = time.monotonic()
    with torch.inference_mode():
        for turn in range(1 + options.rounds):
            if turn > 1 and time.monotonic() - began > options.seconds:
                break
            for name in random.Random(turn).sample(list(ways), len(ways)):
                synchronize(device)
                start = time.perf_counter()
                depth = ways[name]()["depth"]
                synchronize(device)
                if turn:
                    times[name].append(time.perf_counter() - start)
                depths[name] = depth
    return times, depths


def _case(preset: str, views: int, size_hw: tuple[int, int], dtype: torch.dtype) -> Found:
    size = f"{size_hw[1]}x{size_hw[0]}"
    return {"preset": preset, "views": views, "size": size, "dtype": str(dtype).removeprefix("torch.")}


def _relative(depth: Tensor, reference: Tensor) -> dict[str, float]:
    """Median and 99th percentile of the relative difference of pixels."""
    differences = ((depth - reference).abs() / reference).flatten().sort().values
    return {name: float(differences[int(q * (len(differences) - 1))]) for name, q in (("median", 0.5), ("p99", 0.99))}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("reference", "layout", "precision", "memory", "throughput"))
    parser.add_argument(
        "--presets", nargs="+", choices=MODEL_CARDS, help="memory, throughput: all; else da3-small, da3-base"
    )
    parser.add_argument("--views", nargs="+", type=int, default=[1])
    parser.add_argument("--size", default="504x280", help="WIDTHxHEIGHT, multiples of 14")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=40.0, help="after which no turn of a case begins")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    device = choose_device(options.device)
    width, height = map(int, options.size.split("x"))
    machine = describe_machine(device)
    print(json.dumps(machine, indent=1))
    rows: list[Found] = []
    usual = MODEL_CARDS if options.what in ("memory", "throughput") else ("da3-small", "da3-base")
    for preset in options.presets or usual:
        if options.what == "throughput":
            new = throughput(preset, options.views, (height, width), device, options)
        elif options.what == "precision":
            new = [precision(preset, (height, width), device)]
        elif options.what == "memory":
            new = [memory(preset, (height, width), device)]
        elif options.what == "layout":
            net = seeded_network(preset).to(device)
            new = [layouts(net, views, (height, width), device, options) for views in options.views]
        else:
            cases = [compare_with_reference(preset, n, (height, width), device, options) for n in options.views]
            new = [row for case in cases for row in case]
        for row in new:
            print(json.dumps(row), flush=True)
        rows += new
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
