"""Time calls in turns, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.runtime.devices import synchronize

__all__ = ["TimedBesideNetwork", "Timing", "Turn", "first_line", "ratio", "take_turns", "timed"]

_LOAD_RATIO = 2.0  # length of the load, relative to the last timed call
_LOAD_HEAD_START = 2e-3  # seconds


@dataclass(frozen=True)
class Turn:
    """One call: wall-clock time, processor time of all threads, and the delay of a network that runs beside it."""

    wall_ms: float
    cpu_ms: float
    network_lost_ms: float | None = None


@dataclass
class Timing:
    """All timed turns of one call, in order; `failure` is its error, if it raised one."""

    turns: list[Turn] = field(default_factory=list)
    failure: str | None = None

    @property
    def times_ms(self) -> list[float]:
        """Wall-clock time of each turn."""
        return [one.wall_ms for one in self.turns]

    @property
    def median_ms(self) -> float:
        """Median wall-clock time."""
        return statistics.median(self.times_ms)

    @property
    def cpu_ms(self) -> float:
        """Median processor time."""
        return statistics.median(one.cpu_ms for one in self.turns)

    @property
    def network_lost_ms(self) -> float | None:
        """Median delay of the network; None if no network ran."""
        lost = [one.network_lost_ms for one in self.turns if one.network_lost_ms is not None]
        return statistics.median(lost) if lost else None

    def percentile_ms(self, percent: float) -> float:
        """Wall-clock time that so many percent of the turns did not exceed."""
        return float(np.percentile(self.times_ms, percent))

    def times_faster_than(self, other: Timing) -> float:
        """Median of the ratios of single turns, the other's time over this one's."""
        return ratio(other.times_ms, self.times_ms)


def ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Median of the ratios of single turns."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=False))


def take_turns(
    calls: Mapping[str, Callable[[], Turn]],
    *,
    rounds: int,
    warm_up: int = 1,
    seconds: float = math.inf,
    catch: tuple[type[Exception], ...] = (),
) -> dict[str, Timing]:
    """Make every call once a round, in another order each round but the same in every run.

    Rotating them would not do: threads that still spin after one call slow the next down, always the same one.

    Args:
        calls: name to what is called, `timed` or `TimedBesideNetwork`.
        rounds: timed rounds.
        warm_up: rounds before them whose times do not count.
        seconds: after which no further round begins; one is always timed.
        catch: exceptions that become the `failure` of a call, which is then not called again; others are raised.
    """
    timings = {name: Timing() for name in calls}
    began = time.monotonic()
    for turn in range(-warm_up, rounds):
        if turn > 0 and time.monotonic() - began > seconds:
            break
        for name in random.Random(turn).sample(list(calls), len(calls)):
            timing = timings[name]
            if timing.failure:
                continue
            try:
                found = calls[name]()
            except catch as error:
                timing.failure = first_line(error)
                continue
            if turn >= 0:
                timing.turns.append(found)
    return timings


def timed(call: Callable[[], object], device: torch.device | None = None) -> Callable[[], Turn]:
    """Time a call until the device, if one is named, has done all of it."""

    def measure() -> Turn:
        if device is not None:
            synchronize(device)
        cpu_began, began = time.process_time(), time.perf_counter()
        result = call()
        if device is not None:
            synchronize(device)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        del result  # not sooner: releasing it is not part of the call
        return Turn(1e3 * seconds, 1e3 * cpu_seconds)

    return measure


class TimedBesideNetwork:
    """Times a call while a network-like load keeps the device busy, and the delay of the load.

    Args:
        call: timed until the caller's stream has finished; the load continues.
        load: on the same device.
        device: of both.
    """

    def __init__(self, call: Callable[[], object], load: NetworkLoad, device: torch.device) -> None:
        self._call, self._load, self._device = call, load, device
        self._last_seconds = 0.05

    def __call__(self) -> Turn:
        """One turn."""
        load = self._load
        synchronize(self._device)
        length = _LOAD_RATIO * self._last_seconds + _LOAD_HEAD_START
        nominal = max(1, round(length / load.block_seconds)) * load.block_seconds
        load_began = time.perf_counter()
        busy = load.start(length)
        time.sleep(_LOAD_HEAD_START)
        cpu_began, began = time.process_time(), time.perf_counter()
        result = self._call()
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        self._last_seconds = time.perf_counter() - began
        cpu_seconds = time.process_time() - cpu_began
        busy.result()
        lost = time.perf_counter() - load_began - nominal
        del result
        return Turn(1e3 * self._last_seconds, 1e3 * cpu_seconds, 1e3 * lost)


def first_line(error: BaseException) -> str:
    """Type and first line of an exception, at most 300 characters."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]
