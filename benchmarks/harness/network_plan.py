"""Describe how networks are measured, and time them in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.timing import Timing, take_turns, timed

__all__ = ["DepthCall", "Found", "Plan", "described", "relative_difference", "time_depth", "times_ms_of"]

Found = dict[str, Any]  # Any: plain JSON values

DepthCall = Callable[[], Mapping[str, Any]]  # Any: what a network or head returns, its depth among it


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


def time_depth(
    calls: Mapping[str, DepthCall], plan: Plan, catch: tuple[type[Exception], ...] = ()
) -> tuple[dict[str, Timing], dict[str, Tensor]]:
    """Time each call, and return its depth."""
    depths: dict[str, Tensor] = {}

    def call(name: str) -> None:
        depths[name] = calls[name]()["depth"]

    steps = {name: timed(partial(call, name), plan.device) for name in calls}
    with torch.inference_mode():
        return take_turns(steps, rounds=plan.rounds, seconds=plan.seconds, catch=catch), depths


def times_ms_of(timings: Mapping[str, Timing]) -> Found:
    """Rounds and median milliseconds of each call."""
    rounds = min(len(one.turns) for one in timings.values())
    return {"rounds": rounds, **{f"{name}_ms": one.median_ms for name, one in timings.items()}}


def described(preset: str, views: int, size_hw: tuple[int, int], dtype: torch.dtype) -> Found:
    """Preset, views, size and dtype of a row."""
    size = f"{size_hw[1]}x{size_hw[0]}"
    return {"preset": preset, "views": views, "size": size, "dtype": str(dtype).removeprefix("torch.")}


def relative_difference(depth: Tensor, reference: Tensor) -> dict[str, float]:
    """Median and 99th percentile of the relative difference of pixels."""
    differences = ((depth - reference).abs() / reference).flatten().sort().values
    return {name: float(differences[int(q * (len(differences) - 1))]) for name, q in (("median", 0.5), ("p99", 0.99))}
