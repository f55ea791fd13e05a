"""Measure the speed of video input and of the network on it, the latency of live depth, and the growth of memory.

    uv run python benchmarks/video.py input                    # decode and preprocess alone, by source and strategy
    uv run python benchmarks/video.py input --sizes 4K --codecs H.265 --rounds 9
    uv run python benchmarks/video.py network                  # with a preset's architecture and seeded random weights
    uv run python benchmarks/video.py live                     # a camera of 30 frames a second before slower networks
    uv run python benchmarks/video.py memory --frames 20000    # live, as fast as frames come

`input`: the videos are generated, of a moving photo-like scene with sensor noise. Methods take turns. Frames per second
are the median of the rounds, "CPU ms" is the processor time of all threads per frame, "x decode" the median of its
ratios to decoding alone in the same round. PSNR is the lowest of the frames against `exact`.
`live`: latency is measured from the arrival of a frame to the delivery of its depth. The bound is one network time
(with preprocessing and results, the median of the same run) plus one frame time. A network given in milliseconds waits
that long without using the CPU, like a network on a GPU.
`memory`: the exit code is 1 if memory grows.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import av
import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error
from depth_anything_3.inference.video.live import LiveStream
from depth_anything_3.inference.video.options import VideoOptions
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.inputs.video import Frame, VideoInput, open_source
from depth_anything_3.jobs.video.job import run_video
from depth_anything_3.jobs.video.results import VideoResults
from depth_anything_3.runtime.devices import choose_device, synchronize
from depth_anything_3.runtime.prefetch import in_background
from harness.machine import describe_machine
from harness.moving_scene import moving_scene, repeat_video, write_video
from harness.report import as_json, print_facts
from harness.stand_in import load_model
from harness.timing import ratio, take_turns, timed
from harness.watch import Watch
from throughput import LIMIT_MB

SIZES = {"720p": (1280, 720, 120), "1080p": (1920, 1080, 90), "4K": (3840, 2160, 45)}
"""Width, height, frames."""

_SETTLED = 2000  # frames after which memory must not grow
console = Console(highlight=False, soft_wrap=True)
Pass = Callable[[], int]
"""Goes through a source once; returns the number of frames."""


@dataclass
class InputRow:
    """Result of one method on one source.

    Attributes:
        source, method: what was read, and how.
        frames: in a pass.
        fps: median of the passes.
        slowest, fastest: frames a second of single passes.
        cpu_ms: processor time of a frame, all threads, median.
        cpu_ratio: to the first method's in the same round, median.
        psnr_db: lowest PSNR of a frame's 8-bit result against `exact`; None where not compared.
    """

    source: str
    method: str
    frames: int
    fps: float
    slowest: float
    fastest: float
    cpu_ms: float
    cpu_ratio: float
    psnr_db: float | None = None


def measure_input(options: argparse.Namespace, scratch: Path) -> list[InputRow]:
    """Time every method on every source."""
    device = choose_device(options.device)
    model = load_model("instant", device)
    model.input_processor.warm_up()
    strategies = ["cpu"] if device.type == "cpu" else ["auto", "hybrid", "full_gpu", "gpu_decode"]
    rows: list[InputRow] = []
    for size in options.sizes.split(","):
        width, height, frames = SIZES[size]
        for codec in options.codecs.split(","):
            path = scratch / f"{size}-{codec}.mp4"
            name = f"{size} {codec}, {write_video(path, codec, width, height, frames):.0f} Mbit/s"
            methods: dict[str, Pass] = {"PyAV: decode alone": partial(_decode, path)}
            methods["ours: decode to RGB"] = partial(_read, path)
            methods["OpenCV, two resizes"] = partial(_opencv, path)
            choices = {f"ours: {one}, {how}": (one, how) for one in strategies for how in options.fidelities.split(",")}
            methods |= {label: partial(_prepare, model, path, *chosen) for label, chosen in choices.items()}
            timed_rows = _time(name, methods, options.rounds)
            for row in timed_rows:
                if row.method in choices and choices[row.method][1] != "exact":
                    row.psnr_db = _psnr(model, path, *choices[row.method])
            rows += timed_rows
        if size == options.sizes.split(",")[0] and not options.only_videos:
            rows += _other_sources(model, size, strategies, scratch, options.rounds)
    return rows


def _other_sources(
    model: DepthAnything3, size: str, strategies: Sequence[str], scratch: Path, rounds: int
) -> list[InputRow]:
    """Make sources that are not video files: arrays, raw frames, JPEG files."""
    width, height, _ = SIZES[size]
    images = list(moving_scene(width, height, 40))
    raw = b"".join(one.tobytes() for one in images)
    for number, one in enumerate(images):
        Image.fromarray(one).save(scratch / f"{number:03d}.jpg", quality=90)
    sources: dict[str, Callable[[], Iterator[Frame]]] = {
        "arrays": lambda: iter(open_source(images)),
        "raw rgb24": lambda: iter(open_source(io.BytesIO(raw), raw=f"{width}x{height}:rgb24@30")),
        "JPEG files": lambda: iter(open_source(scratch / "%03d.jpg")),
    }
    rows = []
    for name, source in sources.items():
        methods = {f"ours: {one}": partial(_prepare, model, source, one) for one in strategies if one != "gpu_decode"}
        rows += _time(f"{size} {name}", methods, rounds)
    return rows


def _time(source: str, methods: Mapping[str, Pass], rounds: int) -> list[InputRow]:
    """Time the methods in turns, and print why a method cannot run here."""
    frames: dict[str, int] = {}

    def run(name: str) -> None:
        frames[name] = methods[name]()

    timings = take_turns({name: timed(partial(run, name)) for name in methods}, rounds=rounds, catch=(DA3Error,))
    rows = []
    for name, timing in timings.items():
        if timing.failure:
            console.print(f"{source}, {name}: {timing.failure}")
            continue
        count = frames[name]
        rates = sorted(1e3 * count / ms for ms in timing.times_ms)
        fps, cpu_ms = statistics.median(rates), timing.cpu_ms / count
        first = next(iter(timings.values()))
        times, base = ([turn.cpu_ms for turn in one.turns] for one in (timing, first))
        rows.append(InputRow(source, name, count, fps, rates[0], rates[-1], cpu_ms, ratio(times, base)))
    return rows


def _decode(path: Path) -> int:
    """Decode with FFmpeg on all cores, and do nothing with the frames."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def _read(path: Path) -> int:
    with open_source(path) as source:
        return sum(1 for _ in source)


def _prepare(
    model: DepthAnything3, source: Path | Callable[[], Iterator[Frame]], strategy: str, fidelity: str = "exact"
) -> int:
    """Prepare the network's tensor as `stream_video` does."""
    ready = sum(len(batch.images) for batch in _batches(model, source, strategy, fidelity))
    synchronize(model.device)
    return ready


def _batches(
    model: DepthAnything3, source: Path | Callable[[], Iterator[Frame]], strategy: str, fidelity: str
) -> Iterator[ProcessedBatch]:
    chosen = PreprocessOptions(
        num_workers=os.cpu_count() or 1, strategy=Strategy(strategy), fidelity=Fidelity(fidelity)
    )

    def images() -> Generator[Any, None, None]:  # Any: what the pipeline takes
        opened = (
            source()
            if callable(source)
            else open_source(source, strategy=chosen.strategy, device=model.device, fidelity=chosen.fidelity)
        )
        for frame in opened:
            yield frame.as_input()

    with closing(in_background(images(), ahead=2)) as ahead:
        for batch in model.input_processor.batches(ahead, chosen):
            if isinstance(batch, ImageFailure):
                raise batch.error
            yield batch


def _psnr(model: DepthAnything3, path: Path, strategy: str, fidelity: str) -> float:
    """Return the lowest PSNR in dB of a frame's 8-bit result against fidelity `exact`."""
    pairs = zip(*(_batches(model, path, strategy, one) for one in ("exact", fidelity)), strict=True)
    return min(10 * math.log10(255**2 / float((a.pixels.float() - b.pixels.float()).square().mean())) for a, b in pairs)


def _opencv(path: Path) -> int:
    """Run the usual loop: OpenCV decodes, resizes twice like upstream, and NumPy normalises."""
    capture, ready = cv2.VideoCapture(str(path)), 0
    while True:
        there, image = capture.read()
        if not there:
            capture.release()
            return ready
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = 504 / max(height, width)
        size = round(width * scale), round(height * scale)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        whole = 14 * round(size[0] / 14), 14 * round(size[1] / 14)
        if whole != size:
            image = cv2.resize(image, whole, interpolation=cv2.INTER_AREA)
        np.ascontiguousarray(((image.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1), np.float32)
        ready += 1


def measure_network(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Time everything with a network: `stream_video`, and `da3 video` after its start."""
    torch.manual_seed(0)
    model = load_model(options.network, choose_device(options.device), options.dtype)
    width, height, _ = SIZES[options.sizes.split(",")[0]]
    path = scratch / "scene.mp4"
    write_video(path, "H.264", width, height, options.frames or 24)
    rows = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        frames = sum(1 for _ in model.stream_video(path))
        streamed = time.perf_counter() - began
        report = run_video(
            model.engine, path, scratch / "out", VideoResults(), VideoOptions.parse({}, caller=run_video)
        )
        busy = report.stage_seconds["network"] / report.wall_seconds
        rows.append({"stream_fps": frames / streamed, "run_fps": report.images / report.wall_seconds, "busy": busy})
        console.print(
            f"stream_video {frames / streamed:.2f} frames/s; with its mp4 written "
            f"{report.images / report.wall_seconds:.2f}, the network at work {busy:.0%} of the time"
        )
    return rows


def measure_live(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Measure latency with a camera of 30 frames per second, whose frames are in memory."""
    width, height, _ = SIZES[options.sizes.split(",")[0]]
    images, rate = list(moving_scene(width, height, 30)), 30.0
    rows = []
    for network in options.networks.split(","):
        model = load_model(network, choose_device(options.device), options.dtype)
        took: list[float] = []
        model.inference = partial(_timed, model.inference, took)  # type: ignore[method-assign]
        frames = (images[number % len(images)] for number in range(round(options.seconds * rate)))
        stream = _live(model, open_source(frames, fps=rate))
        with stream:
            for _ in stream:
                pass
        network_ms = 1e3 * statistics.median(took)
        bound = network_ms + 1e3 / rate
        row = {"network": network, "network_ms": network_ms, "bound_ms": bound, **asdict(stream.stats)}
        rows.append(row)
        held = "holds" if 1e3 * stream.stats.p95 <= bound else "DOES NOT HOLD"
        console.print(f"{network}: {network_ms:.1f} ms a frame; {stream.stats}; bound {bound:.1f} ms {held}")
    return rows


def _live(model: DepthAnything3, source: VideoInput) -> LiveStream:
    stream = model.stream_video(source, mode="live")
    assert isinstance(stream, LiveStream)
    return stream


def _timed(infer: Callable[..., Any], took: list[float], *given: Any, **options: Any) -> Any:  # Any: as it is called
    began = time.perf_counter()
    result = infer(*given, **options)
    took.append(time.perf_counter() - began)
    return result


def measure_memory(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Record resident memory during a long video in live mode, as fast as it is decoded."""
    path, frames = scratch / "long.mp4", options.frames or 20_000
    write_video(scratch / "once.mp4", "H.264", 640, 360, 120)
    repeat_video(scratch / "once.mp4", path, -(-frames // 120))
    model = load_model(options.networks.split(",")[0], choose_device(options.device))

    def frames_of_video() -> Iterator[Frame]:
        for frame in open_source(path):
            yield replace(frame, time=frame.time / 1000)  # its pace is then what decoding allows

    watch, stream = Watch(model.device), _live(model, islice(frames_of_video(), frames))
    with watch.watching(), stream:
        for _ in stream:
            watch.done = stream.stats.captured
    memory, samples = watch.growth(_SETTLED), [asdict(one) for one in watch.samples]
    console.print(
        f"{stream.stats}\npeak {memory.peak:.0f} MB, {memory.growth:+.1f} MB after the first {_SETTLED:,} frames"
    )
    return [{**asdict(stream.stats), "peak_mb": memory.peak, "growth_mb": memory.growth, "samples": samples}]


def print_input(rows: Sequence[InputRow]) -> None:
    table = Table(*("source", "method", "frames/s", "slowest, fastest pass", "CPU ms", "x decode", "PSNR dB"))
    for row in rows:
        table.add_row(
            row.source,
            row.method,
            f"{row.fps:.0f}",
            f"{row.slowest:.0f}, {row.fastest:.0f}",
            f"{row.cpu_ms:.1f}",
            f"{row.cpu_ratio:.2f}",
            "" if row.psnr_db is None else f"{row.psnr_db:.1f}",
        )
    console.print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("input", "network", "live", "memory"))
    parser.add_argument("--sizes", help=f"of {', '.join(SIZES)}, joined with ','; all but input take the first")
    parser.add_argument("--codecs", default="H.264,H.265")
    parser.add_argument("--fidelities", default="exact,high,fast", help="fidelities of `input`, joined with ','")
    parser.add_argument("--only-videos", action="store_true", help="`input`: no arrays, raw frames and JPEG files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--network", default="da3-small", help="network of `network`: a preset, or milliseconds such as 8ms"
    )
    parser.add_argument(
        "--networks", default="10ms,50ms,100ms,da3-small", help="networks of `live`; `memory` uses the first"
    )
    parser.add_argument("--dtype", help="dtype of the network, by torch's name")
    parser.add_argument(
        "--frames", type=int, help="number of frames of `network` (default: 24) and `memory` (default: 20,000)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of `live` with each network")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.sizes = options.sizes or ("720p,1080p,4K" if options.what == "input" else "1080p")
    machine = describe_machine(choose_device(options.device))
    machine["versions"] += f", av {av.__version__}"
    print_facts(console, machine)
    measures = {"network": measure_network, "live": measure_live, "memory": measure_memory}
    with tempfile.TemporaryDirectory(prefix="da3-video-") as folder:
        if options.what == "input":
            table = measure_input(options, Path(folder))
            print_input(table)
            rows = [asdict(row) for row in table]
        else:
            rows = measures[options.what](options, Path(folder))
    if options.json:
        options.json.write_text(as_json(machine, rows), encoding="utf-8")
    if options.what == "memory" and not rows[0]["growth_mb"] < LIMIT_MB:
        console.print(f"memory is NOT FLAT (limit {LIMIT_MB:.0f} MB)")
        sys.exit(1)


if __name__ == "__main__":
    main()
