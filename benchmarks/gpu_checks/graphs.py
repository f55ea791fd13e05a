"""Compare the network's forward with its replay from a CUDA graph, for fixed sizes.

Measured only: the package captures no graphs. It would be worth an option where replaying wins. Copying a batch into
the memory that a graph reads is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from depth_anything_3.model import build_network
from depth_anything_3.runtime.devices import default_dtype
from gpu_checks.outcome import Report
from harness.method import Setting
from harness.seeded_network import autocast, network_inputs, seed_weights
from harness.timing import first_line, take_turns, timed

__all__ = ["run"]

_PRESETS = ("da3-small", "da3-base")
_BATCHES = (1, 8)
_SIZE_HW = (280, 504)
_ROUNDS = 15
_WARM_UP = 3
_MAX_DIFFERENCE = 1e-3  # of depth, relative: the same kernels, but libraries may choose others during a capture

Forward = Callable[[], torch.Tensor]


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Time each preset and batch of independent images."""
    for preset in _PRESETS[:1] if quick else _PRESETS:
        with torch.device("meta"):
            net = build_network(preset)
        net = net.to_empty(device="cpu")
        seed_weights(net)
        net.to(setting.device)
        for count in _BATCHES[:1] if quick else _BATCHES:
            name = f"CUDA graph, {preset}, {count} images at a time"
            with report.guard(name):
                x = network_inputs(count, (70, 98) if quick else _SIZE_HW, setting.device).transpose(0, 1)
                _compare(report, name, setting.device, partial(_depth, net, x), 1 if quick else _ROUNDS)


def _depth(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    depth: torch.Tensor = net(x)["depth"]
    return depth


def _compare(report: Report, name: str, device: torch.device, forward: Forward, rounds: int) -> None:
    with torch.inference_mode(), autocast(device, default_dtype(device)):
        plain = forward().clone()
        try:
            replay = _captured(forward, device)
        except RuntimeError as error:  # an operation that a graph cannot hold, such as a wait for the device
            report.skipped(name, f"cannot be captured: {first_line(error)}")
            return
        differs = float(((replay() - plain).abs() / plain.abs()).nan_to_num().max())
        timings = take_turns(
            {"plain": timed(forward, device), "graph": timed(replay, device)}, rounds=rounds, warm_up=_WARM_UP
        )
    faster = timings["graph"].times_faster_than(timings["plain"])
    times = {way: one.times_ms for way, one in timings.items()}
    text = f"plain {timings['plain'].median_ms:.2f} ms, graph {timings['graph'].median_ms:.2f} ms: {faster:.2f} times"
    report.measured(name, f"{text} faster", times_ms=times, times_faster=faster)
    report.check(f"{name}: the same depth", differs <= _MAX_DIFFERENCE, f"relative difference {differs:.2g}")


def _captured(forward: Forward, device: torch.device) -> Forward:
    """Capture a call; in a rehearsal on the CPU, return it as it is.

    Raises:
        RuntimeError: it cannot be captured.
    """
    if device.type != "cuda":
        return forward
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            forward()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        depth = forward()

    def replay() -> torch.Tensor:
        graph.replay()
        return depth

    return replay
