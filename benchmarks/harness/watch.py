"""Sample the resources of a process over time: memory, GPU memory, open files and threads."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch

__all__ = ["Gauge", "Growth", "Sample", "Watch", "draw_samples", "quarters"]

Gauge = Literal["rss_mb", "reserved_mb", "allocated_mb", "device_mb", "open_files", "threads"]
_LABELS: Mapping[Gauge, str] = {"rss_mb": "memory, MB", "open_files": "open files", "threads": "threads"}


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        seconds: since the watch was made.
        done: images, frames or batches until then.
        rss_mb: resident memory of the process.
        reserved_mb, allocated_mb: GPU memory that torch has reserved, and of it allocated; 0 without CUDA.
        device_mb: memory in use on the GPU by whomever; 0 without CUDA.
        open_files: file descriptors; handles on Windows.
        threads: of the process.
    """

    seconds: float
    done: int
    rss_mb: float
    reserved_mb: float
    allocated_mb: float
    device_mb: float
    open_files: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """Peak after the settled part, and its excess over the peak before; NaN if there is no later sample."""

    peak: float
    growth: float


class Watch:
    """Samples over time, read by the caller or by a thread of the watch.

    Args:
        device: whose memory is read beside the process's, if it is a CUDA device.

    Attributes:
        done: counted up by the caller.
        samples: in order of time.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._cuda = device if device is not None and device.type == "cuda" else None
        self._process = psutil.Process()
        self._began = time.monotonic()
        self.done = 0
        self.samples: list[Sample] = []

    def sample(self) -> Sample:
        """Take one sample without storing it."""
        reserved, allocated, used = 0.0, 0.0, 0.0
        if self._cuda is not None:
            free, total = torch.cuda.mem_get_info(self._cuda)
            reserved, allocated = torch.cuda.memory_reserved(self._cuda), torch.cuda.memory_allocated(self._cuda)
            used = total - free
        return Sample(
            time.monotonic() - self._began,
            self.done,
            self._process.memory_info().rss / 1e6,
            reserved / 1e6,
            allocated / 1e6,
            used / 1e6,
            self._process.num_handles() if os.name == "nt" else self._process.num_fds(),
            self._process.num_threads(),
        )

    def read(self) -> None:
        """Add a sample."""
        self.samples.append(self.sample())

    @contextmanager
    def watching(self, every_seconds: float = 0.1) -> Iterator[None]:
        """Add samples from a thread while the block runs."""
        stop = threading.Event()

        def read() -> None:
            while not stop.wait(every_seconds):
                self.read()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def growth(self, settled: float, gauge: Gauge = "rss_mb") -> Growth:
        """Growth of a gauge after `settled` items, or after the first sample if that is later."""
        settled = max(settled, self.samples[0].done) if self.samples else settled
        early = [getattr(one, gauge) for one in self.samples if one.done <= settled]
        late = [getattr(one, gauge) for one in self.samples if one.done > settled]
        return Growth(max(late), max(late) - max(early)) if early and late else Growth(math.nan, math.nan)


def quarters(values: Sequence[float]) -> list[float]:
    """Peak of each quarter of the values."""
    return [float(part.max()) for part in np.array_split(np.array(values, dtype=float), 4)]


def draw_samples(
    path: Path, runs: Mapping[str, Sequence[Sample]], title: str, gauges: Sequence[Gauge] = ("rss_mb",)
) -> None:
    """Draw a PNG with a panel for each gauge over time and a line for each run; reserved GPU memory is dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2 + 1.5 * len(gauges)), layout="constrained")
    axes = figure.subplots(len(gauges), 1, sharex=True, squeeze=False)[:, 0]
    for axis, gauge in zip(axes, gauges, strict=True):
        for label, samples in runs.items():
            seconds = [one.seconds for one in samples]
            (line,) = axis.plot(seconds, [getattr(one, gauge) for one in samples], label=label, linewidth=1)
            if gauge == "rss_mb" and any(one.reserved_mb for one in samples):
                reserved = [one.reserved_mb for one in samples]
                axis.plot(seconds, reserved, "--", color=line.get_color(), label=f"{label}, on the GPU")
        axis.set(ylabel=_LABELS[gauge], ylim=(0, 1.1 * axis.get_ylim()[1]))
        axis.grid(alpha=0.3)
    axes[0].set_title(title, fontsize=9)
    axes[0].legend(frameon=False)
    axes[-1].set_xlabel("seconds")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=140)
