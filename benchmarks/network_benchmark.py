"""Measure the network: against the authors' arithmetic, by memory layout and precision, its memory, and on a GPU.

    uv run python benchmarks/network_benchmark.py engines --presets da3-small da3-base da3-large da3-nano --views 1 4
    uv run python benchmarks/network_benchmark.py reference --presets da3-small da3-base --views 1 4
    uv run python benchmarks/network_benchmark.py layout --presets da3-small da3-large
    uv run python benchmarks/network_benchmark.py precision --presets da3-small da3mono-large
    uv run python benchmarks/network_benchmark.py memory --presets da3-small da3-giant --size 504x336
    uv run python benchmarks/network_benchmark.py speed --views 1 8 32      # on CUDA, every preset that fits

Weights are random with a fixed seed, except those of da3-nano in `engines`, which are trained. Inputs are normalised
photo-like images; reading and resizing are not timed. `engines` compares torch, OpenVINO and ONNX Runtime in their
dtypes, on the CPU, with batches of `--views` independent images; converting networks is not timed.
`reference` compares with the same network and weights without our optimisations (`as_the_reference`). Networks take
turns in an order that changes each round; a ratio is the median of the ratios of single turns.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depth_anything_3.model import DepthAnything3Net, build_network
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.dpt import DptTrunk
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.runtime.devices import choose_device, default_dtype
from harness.images import parse_size
from harness.machine import describe_machine
from harness.network_engines import compare_engines
from harness.network_plan import Found, Plan, described, relative_difference, time_depth, times_ms_of
from harness.reference_network import as_the_reference, run_channels_first
from harness.report import as_json
from harness.seeded_network import autocast, network_inputs, seeded_network

__all__ = ["layouts", "memory", "speed"]


# The authors' arithmetic


def compare_with_reference(preset: str, views: int, plan: Plan) -> list[Found]:
    """Time both, in float32 and bfloat16, and compare their results."""
    net = seeded_network(preset).to(plan.device)
    assert isinstance(net, DepthAnything3Net)
    reference, x = as_the_reference(net, views), network_inputs(views, plan.size_hw, plan.device)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(plan.device, dtype):
            timings, depths = time_depth({"reference": partial(reference, x), "ours": partial(net, x)}, plan)
        found.append(
            {
                **described(preset, views, plan.size_hw, dtype),
                **times_ms_of(timings),
                "times_faster": timings["ours"].times_faster_than(timings["reference"]),
                "difference": relative_difference(depths["ours"], depths["reference"]),
            }
        )
    return found


# Layout of the heads' maps


def _channels_last(head: DptTrunk) -> DptTrunk:
    """Run a head channels last, including its weights."""
    return head.to(memory_format=torch.channels_last)


def layouts(net: DepthAnything3Net, views: int, plan: Plan) -> Found:
    """Time the head alone: as it is, channels first, and channels last with its weights."""
    patches = math.prod(plan.size_hw) // 196
    features = [torch.randn(1, views, patches, net.preset.feature_width, device=plan.device) for _ in range(4)]
    heads = {
        "as_is": net.head,
        "contiguous": run_channels_first(copy.deepcopy(net.head)),
        "channels_last": _channels_last(copy.deepcopy(net.head)),
    }
    calls = {name: partial(_head_maps, head, features, plan.size_hw) for name, head in heads.items()}
    timings, depths = time_depth(calls, plan)
    return {
        **described(net.preset.name, views, plan.size_hw, torch.float32),
        **times_ms_of(timings),
        "difference": max(relative_difference(depths[name], depths["as_is"])["p99"] for name in heads),
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
    return {**described(preset, 1, size_hw, torch.bfloat16), "difference": relative_difference(depths[1], depths[0])}


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
        **described(preset, 1, size_hw, torch.bfloat16),
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
        facts = described(preset, count, plan.size_hw, dtype)
        x = network_inputs(count, plan.size_hw, device).transpose(0, 1)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with autocast(device, dtype):
            timings, _ = time_depth({"ours": partial(net, x)}, plan, catch=(torch.OutOfMemoryError,))
        timing = timings["ours"]
        if timing.failure:
            found.append({**facts, "missing": "out of memory"})
            break
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        images_per_second = 1e3 * count / timing.median_ms
        found.append({**facts, "rounds": len(timing.turns), "images_per_second": images_per_second, "peak_gb": peak})
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("engines", "reference", "layout", "precision", "memory", "speed"))
    parser.add_argument(
        "--presets", nargs="+", choices=MODEL_CARDS, help="default: all of memory and speed; else da3-small, da3-base"
    )
    parser.add_argument("--views", nargs="+", type=int, default=[1])
    parser.add_argument("--size", default="504x280", help="WIDTHxHEIGHT, multiples of 14")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=40.0, help="time after which a case starts no further round")
    parser.add_argument("--cache", type=Path, help="folder for the converted networks of engines; default: temporary")
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
    with nullcontext(options.cache) if options.cache else tempfile.TemporaryDirectory() as cache:
        for preset in options.presets or usual:
            for row in _measure(options.what, preset, options.views, plan, Path(cache)):
                print(json.dumps(row), flush=True)
                rows.append(row)
    if options.json:
        options.json.write_text(as_json(machine, rows), encoding="utf-8")


def _measure(what: str, preset: str, views: Sequence[int], plan: Plan, cache: Path) -> list[Found]:
    if what == "engines":
        if plan.device.type != "cpu":
            raise SystemExit("engines: the converted networks compute on the CPU; pass --device cpu")
        return compare_engines(preset, views, plan, cache)
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
