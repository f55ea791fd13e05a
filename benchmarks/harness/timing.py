"""Ways and one batch of pictures in, a row of times, memory and fidelity for each way out.

The ways take turns, so a slow moment of the machine meets all of them, and another way begins each turn. What is timed:
from the call until the device has done all of it. A speed-up is the median of the ratios of single turns.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.runtime.devices import synchronize
from harness.method import REFERENCE, Picture, Setting, Way

__all__ = ["Case", "Row", "fidelity", "first_line", "time_ways"]

WARM_UP = 3
_LOAD_RATIO = 2.0  # the load is asked to last this much longer than the way beside it took the last time
_LOAD_HEAD_START = 2e-3  # seconds


@dataclass(frozen=True)
class Case:
    """One block of rows.

    Attributes:
        size: name, such as "4K".
        start: what the ways start from, `FILES` or `MEMORY`.
        condition: "alone", "single image" or "beside a network".
        pictures: the batch.
    """

    size: str
    start: str
    condition: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Row:
    """One way in one case. Times in milliseconds for the batch.

    Attributes:
        size, start, condition: as in `Case`.
        batch: pictures.
        way, group: its name, and whether it is usual, ours or a peer.
        missing: why there are no numbers; None if there are.
        took: decoder or strategy that the pictures went through, where the way chooses.
        runs: how many times it was timed.
        median_ms, p90_ms: of them.
        speed_up: against the CPU reference, median of the turns.
        psnr_db, max_levels: of the 8-bit result against the CPU reference; no PSNR where they are equal, neither where
            there is no such result.
        peak_mb: most GPU memory beyond what was there before the call: torch's, and what libraries took of the driver.
        network_lost_ms: how much later the network beside it was done than alone.
        times_ms: all of them.
    """

    size: str
    start: str
    condition: str
    batch: int
    way: str
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
        """As JSON takes it."""
        return asdict(self)


@dataclass
class _Run:
    """A way while it is timed."""

    way: Way
    failed: str | None = None
    times: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    last_seconds: float = 0.05
    result: torch.Tensor | None = None

    def row(self, case: Case, reference: _Run) -> Row:
        """What came out."""
        plain = Row(case.size, case.start, case.condition, len(case.pictures), self.way.name, self.way.group)
        if self.failed or self.result is None or reference.result is None or not self.times:
            return Row(**{**plain.as_dict(), "missing": self.failed or "not reached in time"})
        psnr_db, max_levels = fidelity(self.result, reference.result) if self.way.complete else (None, None)
        ratios = [a / b for a, b in zip(reference.times, self.times, strict=False)]
        measured = {
            "took": self.way.took,
            "runs": len(self.times),
            "median_ms": statistics.median(self.times),
            "p90_ms": float(np.percentile(self.times, 90)),
            "speed_up": statistics.median(ratios) if ratios else None,
            "psnr_db": psnr_db,
            "max_levels": max_levels,
            "peak_mb": self.peak_mb,
            "network_lost_ms": statistics.median(self.lost) if self.lost else None,
            "times_ms": tuple(round(one, 4) for one in self.times),
        }
        return Row(**{**plain.as_dict(), **measured})


def time_ways(
    ways: Sequence[Way],
    case: Case,
    setting: Setting,
    *,
    rounds: int,
    seconds: float,
    load: NetworkLoad | None = None,
) -> list[Row]:
    """A row for each way that has this start; a way that raises is told of and left out.

    Args:
        ways: the CPU reference among them.
        case: what they get.
        setting: where they run.
        rounds: timed turns.
        seconds: after which no new turn begins, so that there may be fewer.
        load: keeps the device busy meanwhile.
    """
    began = time.monotonic()
    runs = [_Run(way) for way in ways if case.start in way.starts]
    reference = next(one for one in runs if one.way.name == REFERENCE)
    for run in runs:
        _guarded(run, lambda one: _first(one, case, setting.device))
    for turn in range(WARM_UP - 1 + rounds):
        if time.monotonic() - began > seconds and turn >= WARM_UP:
            break
        for run in _shuffled(runs, turn):
            _guarded(run, lambda one: _timed(one, case, setting.device, load))
        if turn == WARM_UP - 2:
            for run in runs:
                run.times.clear()
                run.lost.clear()
    rows = [run.row(case, reference) for run in runs]
    for run in runs:
        run.result = None
    return rows


def fidelity(result: torch.Tensor, reference: torch.Tensor) -> tuple[float | None, int]:
    """PSNR in dB (None where all are equal) and largest difference in levels of two normalised batches."""
    difference = (_levels(result) - _levels(reference)).abs()
    error = float((difference**2).mean())
    return (None if error == 0 else float(10 * np.log10(255.0**2 / error))), int(difference.max())


def first_line(error: BaseException) -> str:
    """What an exception says, shortly."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]


def _levels(tensor: torch.Tensor) -> torch.Tensor:
    """Normalised values to the nearest of 256 levels; bfloat16 is fine enough to tell them apart."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((tensor.float().cpu() * std + mean) * 255).round().clamp(0, 255)


def _shuffled(runs: Sequence[_Run], turn: int) -> list[_Run]:
    """Another order each turn, the same in every run of the script.

    Rotating them would not do: threads that still spin after one way slow the next down, always the same one.
    """
    return random.Random(turn).sample(list(runs), len(runs))


def _guarded(run: _Run, step: Callable[[_Run], None]) -> None:
    """A step of one way, unless it failed before."""
    if run.failed:
        return
    try:
        step(run)
    except (DA3Error, RuntimeError, ImportError, OSError, ValueError, TypeError) as error:  # whatever libraries raise
        run.failed = first_line(error)


def _first(run: _Run, case: Case, device: torch.device) -> None:
    """The first call: it loads and compiles, shows the memory, and gives the result to be judged."""
    synchronize(device)
    if device.type != "cuda":
        run.result = run.way(case.pictures).cpu()
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before, outside = torch.cuda.memory_allocated(device), _outside_torch(device)
    result = run.way(case.pictures)
    synchronize(device)
    taken = torch.cuda.max_memory_allocated(device) - before
    run.way.library_bytes += max(0, _outside_torch(device) - outside)
    run.peak_mb = (taken + run.way.library_bytes) / 1e6
    run.result = result.cpu()


def _outside_torch(device: torch.device) -> int:
    """Bytes in use on the device that torch did not allocate."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device)


def _timed(run: _Run, case: Case, device: torch.device, load: NetworkLoad | None) -> None:
    synchronize(device)
    if load is None:
        began = time.perf_counter()
        result = run.way(case.pictures)
        synchronize(device)
        run.times.append(1e3 * (time.perf_counter() - began))
        del result
        return
    length = _LOAD_RATIO * run.last_seconds + _LOAD_HEAD_START
    nominal = max(1, round(length / load.block_seconds)) * load.block_seconds
    load_began = time.perf_counter()
    busy = load.start(length)
    time.sleep(_LOAD_HEAD_START)
    began = time.perf_counter()
    result = run.way(case.pictures)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # not the whole device: the load goes on
    run.last_seconds = time.perf_counter() - began
    run.times.append(1e3 * run.last_seconds)
    busy.result()
    run.lost.append(1e3 * (time.perf_counter() - load_began - nominal))
    del result
