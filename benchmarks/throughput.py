"""Measure throughput from images on disk to depth on disk, the stages' overlap, and the growth of memory.

    uv run python benchmarks/throughput.py overlap              # a network that takes as long as preprocessing
    uv run python benchmarks/throughput.py run --plot run.png   # disk to disk, by stage and strategy, with memory
    uv run python benchmarks/throughput.py run --images 10000 --size 320x240 --network instant --settled 500
    uv run python benchmarks/throughput.py --soak --minutes 60 --plot soak.png

`overlap`: stages one after the other against stages at the same time, in turns. A stand-in that only waits replaces a
network on a GPU.
`run`: the job of `da3 images`, with a preset's architecture and random weights, or with a stand-in. "Busy" is the
average number of images in a stage. Memory is flat if its peak after the settled part exceeds the peak before by less
than 100 MB.
`--soak`: rounds of `da3 images` and of views, over good and damaged files of changing sizes, in one process, for hours.
Memory is flat if the peaks of the last two quarters exceed that of the second by less than 50 MB, and if rounds of the
last quarter leave no more open files and threads than those of the first. The exit code is 1 if memory is not flat.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

# As the command sets them, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
os.environ.setdefault("LRU_CACHE_CAPACITY", "256")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import torch
from rich.console import Console

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo_jpeg
from depth_anything_3.inference.options import BatchOptions, StreamOptions
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.images import run_images
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress
from depth_anything_3.runtime.devices import choose_device
from harness.images import parse_size
from harness.machine import describe_machine
from harness.report import as_json, print_facts
from harness.soak import soak
from harness.stand_in import load_model, stand_in_of
from harness.timing import take_turns, timed
from harness.watch import Sample, Watch, draw_samples

__all__ = ["LIMIT_MB", "DiskJob", "Run", "disk_to_disk"]

DIFFERENT = 8
MIXED = ((640, 480), (1280, 720), (1920, 1080), (1080, 1920), (3024, 4032), (3840, 2160), (800, 800), (505, 379))
LIMIT_MB = 100.0
console = Console(highlight=False, soft_wrap=True)


def write_images(folder: Path, count: int, size: str) -> list[Path]:
    """Make `count` files of a few different images."""
    folder.mkdir(exist_ok=True)
    sizes = MIXED if size == "mixed" else [parse_size(size)] * DIFFERENT
    originals = [photo_jpeg(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    choices = random.Random(0).choices(originals, k=count)
    paths = [folder / f"{place:05d}.jpg" for place in range(count)]
    for path, file in zip(paths, choices, strict=True):
        path.write_bytes(file)
    return paths


def overlap(options: argparse.Namespace, scratch: Path) -> list[dict[str, float]]:
    """Time preprocessing alone, a network that takes as long alone, and both by `stream`, in turns."""
    model = load_model("instant", choose_device(options.device))
    network = stand_in_of(model)
    assert network is not None
    paths = write_images(scratch, options.images, options.size)

    def preprocessing() -> None:
        chosen = PreprocessOptions(num_workers=options.workers, strategy=options.strategy)
        batches = model.input_processor.batches(paths, chosen, batch_size=options.batch_size)
        with closing(batches):
            for _ in batches:
                pass

    def waiting() -> None:
        for _ in range(len(paths) // options.batch_size):
            network(torch.empty(options.batch_size, 1, 3, 14, 14))

    def together() -> None:
        predictions = model.stream(
            paths, batch_size=options.batch_size, num_workers=options.workers, strategy=options.strategy
        )
        for _ in predictions:
            pass

    preprocessing()
    rounds = []
    for _ in range(options.rounds):
        alone = _seconds(preprocessing)
        network.seconds = alone / len(paths)
        waited, both = _seconds(waiting), _seconds(together)
        again = _seconds(preprocessing)  # the machine may have changed meanwhile
        longer = max((alone + again) / 2, waited)
        rounds.append({"preprocessing": alone, "network": waited, "together": both, "over_longer": both / longer})
        console.print(
            f"preprocessing {alone:.2f} s and {again:.2f} s, network {waited:.2f} s, together {both:.2f} s: "
            f"{both / longer:.3f} times the longer, {both / (longer + waited):.2f} of the sum"
        )
    ratios = sorted(one["over_longer"] for one in rounds)
    console.print(f"median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) times the longer")
    return rounds


@dataclass(frozen=True)
class DiskJob:
    """Measurements of `disk_to_disk`.

    Attributes:
        device: the network's.
        network: a preset, "instant", or milliseconds such as "8ms".
        dtype: of the network, as torch names it; None for the device's default.
        images: number of files.
        size: of them, WIDTHxHEIGHT or "mixed".
        batch_size, workers, fidelity, process_res: as for `DepthAnything3.stream`.
        strategies: each is measured.
        format: of the results.
        settled: images after which memory must not grow.
    """

    device: torch.device
    network: str
    images: int
    size: str
    batch_size: int
    workers: int
    strategies: Sequence[str]
    process_res: int
    settled: int
    dtype: str | None = None
    fidelity: str = "exact"
    format: str = "depth_png"


@dataclass
class Run:
    """Run one strategy from disk to disk."""

    strategy: str
    images: int
    seconds: float
    images_per_second: float
    ceiling: float
    busy: dict[str, float]
    peak_mb: float
    growth_mb: float
    strategies: dict[str, dict[str, int]]
    samples: list[Sample]


def disk_to_disk(job: DiskJob, scratch: Path) -> list[Run]:
    """Run `run_images` with each strategy."""
    model = load_model(job.network, job.device, job.dtype)
    paths = write_images(scratch / "in", job.images, job.size)
    ceiling = network_alone(model, paths[: job.batch_size], job.process_res)
    console.print(f"network alone: {ceiling:.1f} images/s")
    return [_run(job, model, paths, scratch, strategy, ceiling) for strategy in job.strategies]


def _run(
    job: DiskJob, model: DepthAnything3, paths: Sequence[Path], scratch: Path, strategy: str, ceiling: float
) -> Run:
    watch, out = Watch(job.device), scratch / f"out-{strategy}"

    def run(files: Sequence[Path], folder: Path, on_progress: OnProgress) -> RunReport:
        preprocess = PreprocessOptions(
            process_res=job.process_res,
            num_workers=job.workers,
            strategy=Strategy(strategy),
            fidelity=Fidelity(job.fidelity),
        )
        return run_images(
            model.engine,
            files,
            Destination(folder=folder, formats=job.format),
            StreamOptions(preprocess=preprocess, batching=BatchOptions(batch_size=job.batch_size)),
            on_progress=on_progress,
        )

    def count(_failed: int = 0, /) -> None:
        watch.done += 1

    run(paths[: 2 * job.batch_size], scratch / "warm", no_progress)
    with watch.watching():
        report = run(paths, out, count)
    shutil.rmtree(out)
    busy = {stage: seconds / report.wall_seconds for stage, seconds in report.stage_seconds.items()}
    memory = watch.growth(job.settled)
    stages = ", ".join(f"{stage} {share:.2f}" for stage, share in busy.items())
    console.print(
        f"{strategy}: {report.images_per_second:.1f} images/s, {report.images_per_second / ceiling:.0%} of the network "
        f"alone; busy: {stages}; one after the other {sum(report.stage_seconds.values()):.1f} s, "
        f"together {report.wall_seconds:.1f} s; peak {memory.peak:.0f} MB, {memory.growth:+.0f} MB after the first "
        f"{job.settled}"
    )
    return Run(
        *(strategy, report.images, report.wall_seconds, report.images_per_second, ceiling, busy),
        *(memory.peak, memory.growth, report.strategies, watch.samples),
    )


def network_alone(model: DepthAnything3, paths: Sequence[Path], process_res: int) -> float:
    """Measure images per second of the network alone, with batches on its device. Median of five."""
    stand_in = stand_in_of(model)
    if stand_in is not None:
        return 1 / stand_in.seconds if stand_in.seconds else float("inf")
    x = model.input_processor(paths, process_res=process_res).tensor.unsqueeze(1)
    dtype, kind = model.engine.dtype, model.device.type

    def network() -> None:
        with torch.inference_mode(), torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
            model.model(x)["depth"].sum().item()

    timing = take_turns({"network": timed(network)}, rounds=5, warm_up=2)["network"]
    return 1e3 * len(x) / timing.median_ms


def _seconds(call: Callable[[], None]) -> float:
    return timed(call)().wall_ms / 1e3


def _names(text: str) -> list[str]:
    return text.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", nargs="?", choices=("overlap", "run"), default="run", help="what to measure (default: run)"
    )
    parser.add_argument("--soak", action="store_true", help="run rounds of good and damaged files for hours instead")
    parser.add_argument("--minutes", type=float, default=60.0, help="duration of --soak")
    parser.add_argument("--model", default="da3-nano", help="checkpoint of --soak")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT, or mixed")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="auto", help="device; --soak always uses the CPU")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of overlap")
    parser.add_argument("--strategy", default="auto", help="strategy of overlap")
    parser.add_argument("--strategies", type=_names, default="auto", help="strategies of run, joined with ','")
    parser.add_argument("--fidelity", default="exact")
    parser.add_argument("--network", default="da3-small", help="a preset, instant, or milliseconds such as 8ms")
    parser.add_argument("--dtype", help="dtype of the network, by torch's name")
    parser.add_argument("--process-res", type=int, default=504)
    parser.add_argument("--format", default="depth_png")
    parser.add_argument("--settled", type=int, default=100, help="images after which memory must not grow")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    machine = describe_machine(choose_device("cpu" if options.soak else options.device))
    print_facts(console, machine)
    flat = True
    with tempfile.TemporaryDirectory(prefix="da3-throughput-") as folder:
        scratch = Path(folder)
        rows: list[dict[str, Any]]  # Any: plain JSON values
        if options.soak:
            rows, flat = _soak(options, scratch)
        elif options.what == "overlap":
            rows = [dict(one) for one in overlap(options, scratch)]
        else:
            rows, flat = _disk_to_disk(options, scratch, machine)
    if options.json:
        options.json.write_text(as_json(machine, rows), encoding="utf-8")
    if not flat:
        console.print("memory is NOT FLAT")
        sys.exit(1)


def _disk_to_disk(
    options: argparse.Namespace, scratch: Path, machine: dict[str, str]
) -> tuple[list[dict[str, Any]], bool]:  # Any: plain JSON values
    """Print the rows; return whether memory was flat."""
    chosen = {one.name: getattr(options, one.name) for one in fields(DiskJob)}
    chosen["device"] = choose_device(options.device)
    runs = disk_to_disk(DiskJob(**chosen), scratch)
    if options.plot:
        lines = {f"{run.strategy}: {run.images} images, {run.images_per_second:.0f}/s": run.samples for run in runs}
        draw_samples(options.plot, lines, f"{machine['processor']}, {machine['date']}")
    return [asdict(run) for run in runs], not any(run.growth_mb >= LIMIT_MB for run in runs)


def _soak(options: argparse.Namespace, scratch: Path) -> tuple[list[dict[str, Any]], bool]:  # Any: plain JSON values
    """Print one row; return whether nothing grew."""
    found = soak(DepthAnything3.from_pretrained(options.model, "cpu"), options.minutes * 60, scratch)
    console.print(str(found))
    if options.plot:
        title = f"{found.images:,} images written, {found.failures:,} files failed, one process"
        draw_samples(options.plot, {"soak": found.samples}, title, ("rss_mb", "open_files", "threads"))
    return [asdict(found)], not found.grown()


if __name__ == "__main__":
    main()
