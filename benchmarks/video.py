"""How fast does video get to the network and through it, how late is live depth, and does memory stay flat?

    uv run python benchmarks/video.py input                    # decode and preprocess alone, by source and strategy
    uv run python benchmarks/video.py input --sizes 4K --codecs H.265 --rounds 9
    uv run python benchmarks/video.py network                  # with a preset's architecture and seeded random weights
    uv run python benchmarks/video.py live                     # a camera of 30 frames a second before slower networks
    uv run python benchmarks/video.py memory --frames 20000    # live, as fast as frames come

`input`: videos are made on the spot, of a moving photo-like scene with sensor noise. Ways take turns; frames a second
is the median of the rounds, "CPU ms" the processor time of all threads for a frame. `live`: latency is from the moment
a frame was there to the moment its depth is taken; the bound is one network time (preprocessing and results included,
the median of the same run) plus one frame time. Networks given in milliseconds wait that long and leave the CPU alone,
as one on a GPU does. `memory` exits with 1 if memory grows.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import av
import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from depth_anything_3.api import DepthAnything3, choose_device
from depth_anything_3.errors import DA3Error
from depth_anything_3.inference.video.live import LiveStream
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.inputs.video import Frame, open_source
from depth_anything_3.jobs.video.job import run_video
from depth_anything_3.runtime.devices import synchronize
from depth_anything_3.runtime.prefetch import in_background
from harness.machine import describe_machine
from harness.moving_scene import moving_scene, repeat_video, write_video
from throughput import LIMIT_MB, Watch, load

SIZES = {"720p": (1280, 720, 120), "1080p": (1920, 1080, 90), "4K": (3840, 2160, 45)}
"""Width, height, frames."""

_SETTLED = 2000  # frames after which memory must not grow
console = Console(highlight=False, soft_wrap=True)
Pass = Callable[[], int]
"""Goes through a source once; returns the number of frames."""


@dataclass
class InputRow:
    """One source by one way.

    Attributes:
        source, way: what was read, and how.
        frames: in a pass.
        fps: median of the passes.
        slowest, fastest: frames a second of single passes.
        cpu_ms: processor time of a frame, all threads, median.
    """

    source: str
    way: str
    frames: int
    fps: float
    slowest: float
    fastest: float
    cpu_ms: float


def measure_input(options: argparse.Namespace, scratch: Path) -> list[InputRow]:
    """Every source by every way."""
    device = choose_device(options.device)
    model = load("instant", device, None)
    model.input_processor.warm_up()
    strategies = ["cpu"] if device.type == "cpu" else ["auto", "hybrid", "full_gpu", "gpu_decode"]
    rows: list[InputRow] = []
    for size in options.sizes.split(","):
        width, height, frames = SIZES[size]
        for codec in options.codecs.split(","):
            path = scratch / f"{size}-{codec}.mp4"
            name = f"{size} {codec}, {write_video(path, codec, width, height, frames):.0f} Mbit/s"
            ways: dict[str, Pass] = {"PyAV: decode alone": partial(_decode, path)}
            ways["ours: decode to RGB"] = partial(_read, path)
            ways["OpenCV, two resizes"] = partial(_opencv, path)
            ways |= {f"ours: {one}": partial(_prepare, model, path, one) for one in strategies}
            rows += _time(name, ways, options.rounds)
        if size == options.sizes.split(",")[0]:
            rows += _other_sources(model, size, strategies, scratch, options.rounds)
    return rows


def _other_sources(
    model: DepthAnything3, size: str, strategies: Sequence[str], scratch: Path, rounds: int
) -> list[InputRow]:
    """Frames that are no video file: arrays, raw frames, JPEG files."""
    width, height, _ = SIZES[size]
    pictures = list(moving_scene(width, height, 40))
    raw = b"".join(one.tobytes() for one in pictures)
    for number, one in enumerate(pictures):
        Image.fromarray(one).save(scratch / f"{number:03d}.jpg", quality=90)
    sources: dict[str, Callable[[], Iterator[Frame]]] = {
        "arrays": lambda: iter(open_source(pictures)),
        "raw rgb24": lambda: iter(open_source(io.BytesIO(raw), raw=f"{width}x{height}:rgb24@30")),
        "JPEG files": lambda: iter(open_source(scratch / "%03d.jpg")),
    }
    rows = []
    for name, source in sources.items():
        ways = {f"ours: {one}": partial(_prepare, model, source, one) for one in strategies if one != "gpu_decode"}
        rows += _time(f"{size} {name}", ways, rounds)
    return rows


def _time(source: str, ways: Mapping[str, Pass], rounds: int) -> list[InputRow]:
    """The ways in turns, another one first each time; those that this machine cannot take say why."""
    names, notes, passes = list(ways), {}, {name: [] for name in ways}
    frames = 0
    for turn in range(-1, rounds):  # the first warms up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if name in notes:
                continue
            began, spent = time.perf_counter(), time.process_time()
            try:
                frames = ways[name]()
            except DA3Error as error:
                notes[name] = str(error).partition("\n")[0]
                continue
            took = time.perf_counter() - began, time.process_time() - spent
            if turn >= 0:
                passes[name].append(took)
    rows = []
    for name in names:
        if name in notes:
            console.print(f"{source}, {name}: {notes[name]}")
            continue
        walls, cpus = zip(*passes[name], strict=True)
        rates = sorted(frames / wall for wall in walls)
        cpu_ms = 1e3 * statistics.median(cpus) / frames
        rows.append(InputRow(source, name, frames, statistics.median(rates), rates[0], rates[-1], cpu_ms))
    return rows


def _decode(path: Path) -> int:
    """As fast as FFmpeg decodes on all cores; nothing is done to the frames."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def _read(path: Path) -> int:
    with open_source(path) as source:
        return sum(1 for _ in source)


def _prepare(model: DepthAnything3, source: Path | Callable[[], Iterator[Frame]], strategy: str) -> int:
    """To the network's tensor, as `stream_video` does it."""

    def images() -> Iterator[Any]:  # Any: what a frame's image may be
        opened = source() if callable(source) else open_source(source, strategy=strategy, device=model.device)
        for frame in opened:
            yield frame.image

    ready = 0
    with closing(in_background(images(), ahead=2)) as ahead:
        for batch in model.input_processor.batches(ahead, 1, num_workers=os.cpu_count() or 1, strategy=strategy):
            ready += len(batch.images)
    synchronize(model.device)
    return ready


def _opencv(path: Path) -> int:
    """The usual loop: OpenCV decodes, resizes twice as upstream does, and numpy normalises."""
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
    """All of it, with a network: frames a second of `stream_video`, and of what `da3 video` does once it has begun."""
    torch.manual_seed(0)
    model = load(options.network, choose_device(options.device), options.dtype)
    width, height, _ = SIZES[options.sizes.split(",")[0]]
    path = scratch / "scene.mp4"
    write_video(path, "H.264", width, height, options.frames or 24)
    rows = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        frames = sum(1 for _ in model.stream_video(path))
        streamed = time.perf_counter() - began
        report = run_video(model, path, scratch / "out")
        busy = report.stage_seconds["network"] / report.wall_seconds
        rows.append({"stream_fps": frames / streamed, "run_fps": report.images / report.wall_seconds, "busy": busy})
        console.print(
            f"stream_video {frames / streamed:.2f} frames/s; with its mp4 written "
            f"{report.images / report.wall_seconds:.2f}, the network at work {busy:.0%} of the time"
        )
    return rows


def measure_live(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Latency behind a camera of 30 frames a second, whose frames are in memory."""
    width, height, _ = SIZES[options.sizes.split(",")[0]]
    pictures, rate = list(moving_scene(width, height, 30)), 30.0
    rows = []
    for network in options.networks.split(","):
        model = load(network, choose_device(options.device), options.dtype)
        took: list[float] = []
        model.inference = partial(_timed, model.inference, took)
        film = (pictures[number % len(pictures)] for number in range(round(options.seconds * rate)))
        with model.stream_video(open_source(film, fps=rate), mode="live") as stream:
            assert isinstance(stream, LiveStream)
            for _ in stream:
                pass
        network_ms = 1e3 * statistics.median(took)
        bound = network_ms + 1e3 / rate
        row = {"network": network, "network_ms": network_ms, "bound_ms": bound, **asdict(stream.stats)}
        rows.append(row)
        held = "holds" if 1e3 * stream.stats.p95 <= bound else "DOES NOT HOLD"
        console.print(f"{network}: {network_ms:.1f} ms a frame; {stream.stats}; bound {bound:.1f} ms {held}")
    return rows


def _timed(infer: Callable[..., Any], took: list[float], *given: Any, **options: Any) -> Any:  # Any: as it is called
    began = time.perf_counter()
    result = infer(*given, **options)
    took.append(time.perf_counter() - began)
    return result


def measure_memory(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Resident memory while a long film goes through live mode, as fast as it is decoded."""
    path, frames = scratch / "long.mp4", options.frames or 20_000
    write_video(scratch / "once.mp4", "H.264", 640, 360, 120)
    repeat_video(scratch / "once.mp4", path, -(-frames // 120))
    model = load(options.networks.split(",")[0], choose_device(options.device), None)

    def film() -> Iterator[Frame]:
        for frame in open_source(path):
            yield replace(frame, time=frame.time / 1000)  # its pace is then what decoding allows

    watch = Watch(model.device)
    with watch.watching(), model.stream_video(islice(film(), frames), mode="live") as stream:
        assert isinstance(stream, LiveStream)
        for _ in stream:
            watch.done = stream.stats.captured
    peak, growth = watch.growth(_SETTLED)
    console.print(f"{stream.stats}\npeak {peak:.0f} MB, {growth:+.1f} MB after the first {_SETTLED:,} frames")
    return [{**asdict(stream.stats), "peak_mb": peak, "growth_mb": growth, "samples": watch.samples}]


def print_input(rows: Sequence[InputRow]) -> None:
    table = Table(*("source", "way", "frames/s", "slowest, fastest pass", "CPU ms"))
    for row in rows:
        table.add_row(
            row.source, row.way, f"{row.fps:.0f}", f"{row.slowest:.0f}, {row.fastest:.0f}", f"{row.cpu_ms:.1f}"
        )
    console.print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("input", "network", "live", "memory"))
    parser.add_argument("--sizes", help=f"of {', '.join(SIZES)}, joined with ','; all but input take the first")
    parser.add_argument("--codecs", default="H.264,H.265")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--network", default="da3-small", help="of network: a preset, or milliseconds such as 8ms")
    parser.add_argument("--networks", default="10ms,50ms,100ms,da3-small", help="of live and memory (the first)")
    parser.add_argument("--dtype", help="of the network, as torch names it")
    parser.add_argument("--frames", type=int, help="of network (24) and memory (20,000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of live, each network")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.sizes = options.sizes or ("720p,1080p,4K" if options.what == "input" else "1080p")
    machine = describe_machine(choose_device(options.device))
    machine["versions"] += f", av {av.__version__}"
    for key, value in machine.items():
        console.print(f"{key}: {value}")
    measures = {"network": measure_network, "live": measure_live, "memory": measure_memory}
    with tempfile.TemporaryDirectory(prefix="da3-video-") as folder:
        if options.what == "input":
            table = measure_input(options, Path(folder))
            print_input(table)
            rows = [asdict(row) for row in table]
        else:
            rows = measures[options.what](options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    if options.what == "memory" and not rows[0]["growth_mb"] < LIMIT_MB:
        console.print(f"memory is NOT FLAT (limit {LIMIT_MB:.0f} MB)")
        sys.exit(1)


if __name__ == "__main__":
    main()
