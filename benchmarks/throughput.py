"""How many pictures a second go from disk to depth on disk, what waits for what, and does memory stay flat?

    uv run python benchmarks/throughput.py overlap              # a network that takes as long as preprocessing
    uv run python benchmarks/throughput.py run --plot run.png   # disk to disk, by stage and way, with memory over time
    uv run python benchmarks/throughput.py run --images 10000 --size 320x240 --network instant --settled 500

`overlap`: one after the other against together, in turns; a network that only waits stands in for one on a GPU.
`run`: what `da3 images` does, with a preset's architecture and random weights, or with a stand-in. "Busy" is how many
pictures a stage has in hand on average. Memory is flat if its peak after the settled part exceeds the one before by
less than 100 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import numpy as np
import psutil
import torch
from rich.console import Console
from torch import nn

from depth_anything_3.api import DepthAnything3, choose_device
from depth_anything_3.diagnostics.synthetic import photo_jpeg
from depth_anything_3.jobs.images import run_images
from harness.machine import describe_machine

DIFFERENT = 8
MIXED = ((640, 480), (1280, 720), (1920, 1080), (1080, 1920), (3024, 4032), (3840, 2160), (800, 800), (505, 379))
LIMIT_MB = 100.0
_SAMPLE_SECONDS = 0.1
console = Console(highlight=False, soft_wrap=True)


class StandIn(nn.Module):
    """A network that takes a given time and leaves the CPU alone, as one on a GPU does."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = seconds

    def check_options(self, **options: object) -> None:
        """Whatever it is asked, it waits."""

    def forward(self, x: torch.Tensor, **options: object) -> dict[str, torch.Tensor]:
        """(B, S, 3, H, W) to a depth of ones."""
        time.sleep(self.seconds * x.shape[0] * x.shape[1])
        # By numpy: torch would fill it with all cores, which a network on a GPU leaves to the workers.
        return {"depth": torch.from_numpy(np.ones((*x.shape[:2], *x.shape[3:]), np.float32))}


@dataclass
class Watch:
    """Memory over time, read in a thread of its own.

    Attributes:
        device: whose memory is read beside the process's.
        samples: (seconds, pictures done, resident MB, MB that torch holds on the GPU).
        done: pictures, told by whoever counts.
    """

    device: torch.device
    samples: list[tuple[float, int, float, float]] = field(default_factory=list)
    done: int = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Read while the block runs."""
        process, stop, began = psutil.Process(), threading.Event(), time.perf_counter()

        def sample() -> None:
            while not stop.wait(_SAMPLE_SECONDS):
                gpu = torch.cuda.memory_reserved(self.device) / 1e6 if self.device.type == "cuda" else 0.0
                now = time.perf_counter() - began
                self.samples.append((now, self.done, process.memory_info().rss / 1e6, gpu))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def growth(self, settled: int) -> tuple[float, float]:
        """Peak in MB after the settled part, and how much it exceeds the one within."""
        early = [rss for _, done, rss, _ in self.samples if done <= settled]
        late = [rss for _, done, rss, _ in self.samples if done > settled]
        return (max(late), max(late) - max(early)) if early and late else (float("nan"), float("nan"))


def pictures(folder: Path, count: int, size: str) -> list[Path]:
    """`count` files of a few different pictures."""
    sizes = MIXED if size == "mixed" else [tuple(map(int, size.split("x")))] * DIFFERENT
    originals = [photo_jpeg(*one, seed=seed) for seed, one in enumerate(sizes)]
    choices = random.Random(0).choices(range(len(originals)), k=count)
    paths = [folder / f"{place:05d}.jpg" for place in range(count)]
    for path, choice in zip(paths, choices, strict=True):
        path.write_bytes(originals[choice])
    return paths


def load(network: str, device: torch.device, dtype: str | None) -> DepthAnything3:
    """A preset with random weights, or a stand-in: "instant", or milliseconds a picture such as "8ms"."""
    preset = network if network.startswith("da3") else "da3-small"
    model = DepthAnything3(preset)
    if preset != network:
        model.model = StandIn(0.0 if network == "instant" else 1e-3 * float(network.removesuffix("ms")))
    model.compute_dtype = getattr(torch, dtype) if dtype else None
    return model.to(device).eval().requires_grad_(False)


def overlap(options: argparse.Namespace, scratch: Path) -> list[dict[str, float]]:
    """Preprocessing alone, a network that takes as long alone, and both by `stream`; rounds in turns."""
    model = load("instant", choose_device(options.device), None)
    network = model.model
    paths = pictures(scratch, options.images, options.size)
    how = {"batch_size": options.batch_size, "num_workers": options.workers, "strategy": options.strategy}

    def preprocessing() -> float:
        began = time.perf_counter()
        with closing(model.input_processor.batches(paths, **how)) as batches:
            for _ in batches:
                pass
        return time.perf_counter() - began

    def together() -> float:
        began = time.perf_counter()
        for _ in model.stream(paths, **how):
            pass
        return time.perf_counter() - began

    preprocessing()
    rounds = []
    for _ in range(options.rounds):
        alone = preprocessing()
        network.seconds = alone / len(paths)
        began = time.perf_counter()
        for _ in range(len(paths) // options.batch_size):
            network(torch.empty(options.batch_size, 1, 3, 14, 14))
        waited = time.perf_counter() - began
        both = together()
        again = preprocessing()  # the machine may have changed meanwhile
        longer = max((alone + again) / 2, waited)
        rounds.append({"preprocessing": alone, "network": waited, "together": both, "over_longer": both / longer})
        console.print(
            f"preprocessing {alone:.2f} s and {again:.2f} s, network {waited:.2f} s, together {both:.2f} s: "
            f"{both / longer:.3f} times the longer, {both / (longer + waited):.2f} of the sum"
        )
    ratios = sorted(one["over_longer"] for one in rounds)
    console.print(f"median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) times the longer")
    return rounds


@dataclass
class Run:
    """One way from disk to disk."""

    strategy: str
    images: int
    seconds: float
    images_per_second: float
    ceiling: float
    busy: dict[str, float]
    peak_mb: float
    growth_mb: float
    ways: dict[str, dict[str, int]]
    samples: list[tuple[float, int, float, float]]


def disk_to_disk(options: argparse.Namespace, scratch: Path) -> list[Run]:
    """`run_images` for each strategy asked for."""
    device = choose_device(options.device)
    model = load(options.network, device, options.dtype)
    (scratch / "in").mkdir()
    paths = pictures(scratch / "in", options.images, options.size)
    ceiling = network_alone(model, paths[: 4 * options.batch_size], options)
    console.print(f"network alone: {ceiling:.1f} images/s")
    runs = []
    for strategy in options.strategies.split(","):
        how = {
            "batch_size": options.batch_size,
            "num_workers": options.workers,
            "strategy": strategy,
            "fidelity": options.fidelity,
            "process_res": options.process_res,
        }
        run_images(model, paths[: 2 * options.batch_size], scratch / "warm", options.format, **how)
        watch, out = Watch(device), scratch / f"out-{strategy}"

        def count(watch: Watch = watch) -> None:
            watch.done += 1

        with watch.watching():
            report = run_images(model, paths, out, options.format, on_progress=count, **how)
        shutil.rmtree(out)
        busy = {stage: seconds / report.wall_seconds for stage, seconds in report.stage_seconds.items()}
        peak, growth = watch.growth(options.settled)
        run = Run(
            strategy,
            report.images,
            report.wall_seconds,
            report.images_per_second,
            ceiling,
            busy,
            peak,
            growth,
            report.strategies,
            watch.samples,
        )
        runs.append(run)
        stages = ", ".join(f"{stage} {share:.2f}" for stage, share in busy.items())
        console.print(
            f"{strategy}: {run.images_per_second:.1f} images/s, {run.images_per_second / ceiling:.0%} of the network "
            f"alone; busy: {stages}; one after the other {sum(report.stage_seconds.values()):.1f} s, "
            f"together {run.seconds:.1f} s; peak {peak:.0f} MB, {growth:+.0f} MB after the first {options.settled}"
        )
    return runs


def network_alone(model: DepthAnything3, paths: Sequence[Path], options: argparse.Namespace) -> float:
    """Pictures a second that the network does of batches that are where it is: the ceiling. Median of five."""
    if isinstance(model.model, StandIn):
        return 1 / model.model.seconds if model.model.seconds else float("inf")
    batch = model.input_processor(paths[: options.batch_size], process_res=options.process_res)
    x = batch.tensor.unsqueeze(1)
    dtype, kind = model._dtype(), model.device.type
    seconds = []
    for turn in range(7):
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
            model.model(x)["depth"].sum().item()
        if turn >= 2:
            seconds.append(time.perf_counter() - began)
    return len(x) / statistics.median(seconds)


def draw(path: Path, runs: Sequence[Run], machine: dict[str, str]) -> None:
    """Memory over time, a line for each strategy; the GPU's dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for run in runs:
        seconds, _, rss, gpu = zip(*run.samples, strict=True)
        label = f"{run.strategy}: {run.images} pictures, {run.images_per_second:.0f}/s"
        (line,) = axis.plot(seconds, rss, label=label)
        if any(gpu):
            axis.plot(seconds, gpu, "--", color=line.get_color(), label=f"{run.strategy}, on the GPU")
    axis.set(xlabel="seconds", ylabel="MB resident", ylim=(0, None))
    axis.set_title(f"{machine['processor']}, {machine['date']}", fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=140)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("overlap", "run"))
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT, or mixed")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7, help="of overlap")
    parser.add_argument("--strategy", default="auto", help="of overlap")
    parser.add_argument("--strategies", default="auto", help="of run, joined with ','")
    parser.add_argument("--fidelity", default="exact")
    parser.add_argument("--network", default="da3-small", help="a preset, instant, or milliseconds such as 8ms")
    parser.add_argument("--dtype", help="of the network, as torch names it")
    parser.add_argument("--process-res", type=int, default=504)
    parser.add_argument("--format", default="depth_png")
    parser.add_argument("--settled", type=int, default=100, help="pictures after which memory must not grow")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    machine = describe_machine(choose_device(options.device))
    for key, value in machine.items():
        console.print(f"{key}: {value}")
    scratch = Path(tempfile.mkdtemp(prefix="da3-throughput-"))
    try:
        if options.what == "overlap":
            rows = overlap(options, scratch)
        else:
            runs = disk_to_disk(options, scratch)
            rows = [asdict(run) for run in runs]
            if options.plot:
                draw(options.plot, runs, machine)
        if options.json:
            options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    finally:
        shutil.rmtree(scratch)
    if options.what == "run" and any(run.growth_mb >= LIMIT_MB for run in runs):
        console.print(f"memory is NOT FLAT (limit {LIMIT_MB:.0f} MB)")
        sys.exit(1)


if __name__ == "__main__":
    main()
