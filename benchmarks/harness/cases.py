"""Run all methods over one batch of images: a row of times, memory and fidelity for each."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.errors import DA3Error
from depth_anything_3.runtime.devices import synchronize
from harness.fidelity import normalized_difference
from harness.method import REFERENCE, Image, Method, Setting
from harness.timing import TimedBesideNetwork, Timing, first_line, take_turns, timed

__all__ = ["Case", "Row", "time_methods"]

_WARM_UP = 2  # rounds after the first call
_RAISED = (DA3Error, RuntimeError, ImportError, OSError, ValueError, TypeError)  # by whatever libraries


@dataclass(frozen=True)
class Case:
    """One block of rows.

    Attributes:
        size: name, such as "4K".
        start: what the methods start from, `FILES` or `MEMORY`.
        condition: "alone", "single image" or "beside a network".
        images: the batch.
    """

    size: str
    start: str
    condition: str
    images: Sequence[Image]


@dataclass(frozen=True)
class Row:
    """One method in one case. Times in milliseconds for the batch.

    Attributes:
        size, start, condition: as in `Case`.
        batch: images.
        method, group: name of the method, and whether it is usual, ours or a peer.
        missing: why there is no result; None if there is one.
        took: decoder or strategy of the images, if the method chooses it.
        runs: number of timed runs.
        median_ms, p90_ms: median and 90th percentile of the runs.
        speed_up: against the CPU reference: median of the ratios of single turns.
        psnr_db, max_levels: of the 8-bit result against the CPU reference; no PSNR if they are equal, and neither if
            there is no 8-bit result.
        peak_mb: maximum of GPU memory beyond that before the call, of torch and of other libraries.
        network_lost_ms: delay of a network that runs at the same time, against running alone.
        times_ms: of every run.
    """

    size: str
    start: str
    condition: str
    batch: int
    method: str
    group: str
    missing: str | None = None
    took: str = ""
    runs: int = 0
    median_ms: float | None = None
    p90_ms: float | None = None
    speed_up: float | None = None
    psnr_db: float | None = None
    max_levels: int | None = None
    peak_mb: float | None = None
    network_lost_ms: float | None = None
    times_ms: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Row:  # Any: plain JSON values
        """Make a row from the values of `as_dict`, read from JSON."""
        return cls(**{**found, "times_ms": tuple(found["times_ms"])})


def time_methods(
    methods: Sequence[Method],
    case: Case,
    setting: Setting,
    *,
    rounds: int,
    seconds: float = math.inf,
    load: NetworkLoad | None = None,
) -> list[Row]:
    """Time each method that has this start; a method that raises gets the reason in its row.

    Args:
        methods: the CPU reference among them.
        case: what they get.
        setting: where they run.
        rounds: timed turns.
        seconds: after which no further round begins, so that there may be fewer.
        load: keeps the device busy meanwhile.
    """
    began = time.monotonic()
    device = setting.device
    used = {method.name: method for method in methods if case.start in method.starts}
    rows, results = {}, {}
    for name, method in used.items():
        row = Row(case.size, case.start, case.condition, len(case.images), name, method.group)
        try:
            results[name], peak_mb = _first_call(method, case.images, device)
            rows[name] = replace(row, peak_mb=peak_mb)
        except _RAISED as error:
            rows[name] = replace(row, missing=first_line(error))
    calls = {name: partial(used[name], case.images) for name in results}
    timings = take_turns(
        {
            name: timed(call, device) if load is None else TimedBesideNetwork(call, load, device)
            for name, call in calls.items()
        },
        rounds=rounds,
        warm_up=_WARM_UP,
        seconds=seconds - (time.monotonic() - began),
        catch=_RAISED,
    )
    return [_filled(row, used[name], results, timings) if row.missing is None else row for name, row in rows.items()]


def _filled(row: Row, method: Method, results: Mapping[str, torch.Tensor], timings: Mapping[str, Timing]) -> Row:
    """Fill the row with its numbers, or with the error of the method or of the reference."""
    timing, reference = timings[method.name], timings.get(REFERENCE, Timing(failure=f"{REFERENCE} failed"))
    if failure := timing.failure or reference.failure:
        return replace(row, missing=failure)
    apart = normalized_difference(results[method.name], results[REFERENCE]) if method.complete else None
    return replace(
        row,
        took=method.took,
        runs=len(timing.turns),
        median_ms=timing.median_ms,
        p90_ms=timing.percentile_ms(90),
        speed_up=timing.times_faster_than(reference),
        psnr_db=None if apart is None or math.isinf(apart.psnr_db) else apart.psnr_db,
        max_levels=None if apart is None else apart.levels,
        network_lost_ms=timing.network_lost_ms,
        times_ms=tuple(round(one, 4) for one in timing.times_ms),
    )


def _first_call(method: Method, images: Sequence[Image], device: torch.device) -> tuple[torch.Tensor, float | None]:
    """Make the call that loads and compiles; return its result, and the peak of GPU memory in MB."""
    synchronize(device)
    if device.type != "cuda":
        return method(images).cpu(), None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before, outside = torch.cuda.memory_allocated(device), _outside_torch(device)
    result = method(images)
    synchronize(device)
    taken = torch.cuda.max_memory_allocated(device) - before
    method.library_bytes += max(0, _outside_torch(device) - outside)
    return result.cpu(), (taken + method.library_bytes) / 1e6


def _outside_torch(device: torch.device) -> int:
    """Measure the bytes in use on the device that torch did not allocate."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device)
