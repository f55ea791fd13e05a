"""Compare what computes a network: torch, OpenVINO and ONNX Runtime, each in its dtypes, on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.model_store import ModelStore
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.inference.backends.backend import Backend, BackendName
from depth_anything_3.inference.backends.conversion import convert, open_stored
from depth_anything_3.inference.backends.graph_backend import GRAPH_DTYPES
from depth_anything_3.inference.backends.torch_backend import TorchBackend
from depth_anything_3.inference.options import NetworkOptions
from harness.network_plan import Found, Plan, described, time_depth
from harness.seeded_network import network_inputs, seed_weights
from harness.timing import first_line, ratio

__all__ = ["ENGINES", "NetworkEngine", "compare_engines", "depth_errors"]


@dataclass(frozen=True)
class NetworkEngine:
    """What computes a network, and in which dtype."""

    backend: BackendName
    dtype: torch.dtype

    @property
    def dtype_name(self) -> str:
        """The dtype, as "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def name(self) -> str:
        """Both, as "openvino-bfloat16"."""
        return f"{self.backend.value}-{self.dtype_name}"


ENGINES = (
    NetworkEngine(BackendName.TORCH, torch.float32),
    NetworkEngine(BackendName.TORCH, torch.bfloat16),
    NetworkEngine(BackendName.OPENVINO, torch.float32),
    NetworkEngine(BackendName.OPENVINO, torch.bfloat16),
    NetworkEngine(BackendName.ONNXRUNTIME, torch.float32),
)
"""The engines that are compared; the first is what the others are compared with."""


def compare_engines(preset: str, batches: Sequence[int], plan: Plan, cache: Path) -> list[Found]:
    """Time the engines in turns for each batch size, and compare their depth with that of torch in float32.

    Args:
        preset: da3-nano has trained weights, the others seeded ones.
        batches: numbers of independent images.
        plan: its device must be the CPU.
        cache: folder where converted networks are kept.
    """
    model = DepthAnything3.from_pretrained(preset, "cpu") if preset == "da3-nano" else DepthAnything3(preset)
    if preset != "da3-nano":
        seed_weights(model)
    backends, missing = _backends(model, cache)
    found: list[Found] = [
        {**_row(preset, one, plan), "missing": missing[one.name]} for one in ENGINES if one.name in missing
    ]
    for count in batches:
        x = network_inputs(count, plan.size_hw, plan.device).transpose(0, 1).contiguous()
        found += _compared(preset, x, backends, plan)
    return found


def _compared(preset: str, x: Tensor, backends: Mapping[str, Backend], plan: Plan) -> list[Found]:
    calls = {name: partial(_depth, backend, x) for name, backend in backends.items()}
    timings, depths = time_depth(calls, plan)
    base, *_ = ENGINES
    rows = []
    for engine in ENGINES:
        if engine.name not in backends:
            continue
        own, reference = timings[engine.name].times_ms, timings[base.name].times_ms
        ratios = sorted(slow / fast for slow, fast in zip(reference, own, strict=True))
        rows.append(
            {
                **_row(preset, engine, plan),
                "batch": len(x),
                "rounds": len(own),
                "median_ms": timings[engine.name].median_ms,
                "times_faster": ratio(reference, own),
                "ratios": [round(one, 3) for one in ratios],
                **depth_errors(depths[engine.name], depths[base.name]),
            }
        )
    return rows


def _row(preset: str, engine: NetworkEngine, plan: Plan) -> Found:
    return {**described(preset, 1, plan.size_hw, engine.dtype), "engine": engine.backend.value}


def _depth(backend: Backend, x: Tensor) -> Mapping[str, Any]:  # Any: tensors of the network
    return backend(x, **NetworkOptions().forward())


def _backends(model: DepthAnything3, cache: Path) -> tuple[dict[str, Backend], dict[str, str]]:
    """Make the engines, by name; and why each of the others is missing."""
    network, card, store = model.model, model.card, ModelStore(cache)
    digest = weights_hash(network)
    backends: dict[str, Backend] = {}
    missing: dict[str, str] = {}
    for engine in ENGINES:
        try:
            if engine.backend is BackendName.TORCH:
                # Low precision changes the network's matrices.
                own = network if engine.dtype is torch.float32 else copy.deepcopy(network)
                backends[engine.name] = TorchBackend(own, engine.dtype)
                backends[engine.name].prepare(NetworkOptions())
            else:
                stored = convert(network, digest, card, engine.backend, many_views=False, store=store)
                backends[engine.name] = open_stored(stored, card, engine.backend, GRAPH_DTYPES[engine.dtype])
        except UnsupportedError as error:
            missing[engine.name] = first_line(error)
    return backends, missing


def depth_errors(depth: Tensor, reference: Tensor) -> dict[str, float]:
    """Compute two errors of depth maps of one shape.

    Returns:
        `abs_rel`, the mean of the absolute difference relative to the reference's pixel; `max_error`, the largest
        difference relative to the largest value.
    """
    difference = (depth.double() - reference.double()).abs()
    return {
        "abs_rel": float((difference / reference.double()).mean()),
        "max_error": float(difference.max() / reference.abs().max()),
    }
