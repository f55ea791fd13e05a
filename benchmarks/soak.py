"""Does anything grow in a process that runs for hours? Memory, open files and threads over time.

    uv run python benchmarks/soak.py --minutes 60 --plot soak.png

Rounds of `da3 images` and of scenes, over good and damaged files of changing sizes, in one process. Flat means
that the peak memory of neither later quarter exceeds the second's by 50 MB, and that rounds of the last quarter leave
no more open files and threads behind than those of the first. Exits with 1 if they are not.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

# As the command sets them, before torch is there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
os.environ.setdefault("LRU_CACHE_CAPACITY", "256")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
import psutil
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.jobs.images import run_images, run_scene
from harness.machine import describe_machine

_LEEWAY_MB = 50.0
_FILES = 60  # a round
_SAMPLE_SECONDS = 2.0
_KINDS = ("jpg", "jpg", "jpg", "png", "webp", "bmp", "tif", "gif")
_SIZES = range(40, 1200)


@dataclass
class Soak:
    """What was measured.

    Attributes:
        seconds, rss_mb, handles, threads: one entry a sample.
        after_rounds: (open files, threads) when each round was over.
        images, failures: pictures written, and left out.
    """

    seconds: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    after_rounds: list[tuple[int, int]] = field(default_factory=list)
    images: int = 0
    failures: int = 0

    def quarters_mb(self) -> list[float]:
        """Peak memory of each quarter of the time."""
        return [float(max(part)) for part in np.array_split(np.array(self.rss_mb), 4)]

    def verdict(self) -> list[str]:
        """What grew."""
        _, second, third, fourth = self.quarters_mb()
        grew = [f"memory: {fourth - second:+.0f} MB"] * (max(third, fourth) > second + _LEEWAY_MB)
        first, last = self.left_behind()
        names = ("open files", "threads")
        return grew + [f"{name}: {a} to {b}" for name, a, b in zip(names, first, last, strict=True) if b > a]

    def left_behind(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Most open files and threads after rounds of the first quarter, and of the last."""
        parts = np.array_split(np.array(self.after_rounds), 4)
        return tuple(parts[0].max(axis=0).tolist()), tuple(parts[3].max(axis=0).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--model", default="da3-nano", help="checkpoint")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, help="JSON of all samples")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("depth_anything_3").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="da3-soak-") as folder:
        soak = run(DepthAnything3.from_pretrained(options.model, "cpu"), options.minutes * 60, Path(folder))
    machine = describe_machine()
    if options.out:
        options.out.write_text(json.dumps({"machine": machine, **asdict(soak)}), encoding="utf-8")
    if options.plot:
        plot(soak, options.plot)
    peaks = ", ".join(f"{one:.0f}" for one in soak.quarters_mb())
    print(
        f"{soak.seconds[-1] / 60:.1f} minutes, {len(soak.after_rounds)} rounds, {soak.images:,} pictures written, ",
        end="",
    )
    print(f"{soak.failures:,} refused; peak MB by quarter {peaks}")
    first, last = soak.left_behind()
    print(f"most open files and threads after a round: {first} at first, {last} at last")
    grew = soak.verdict()
    print("; ".join(grew) if grew else "flat")
    sys.exit(bool(grew))


def run(model: DepthAnything3, seconds: float, folder: Path) -> Soak:
    """Rounds until the time is over."""
    soak, over, rng = Soak(), threading.Event(), random.Random(1)
    sampler = threading.Thread(target=_sample, args=(soak, over), daemon=True)
    sampler.start()
    ends, number = time.monotonic() + seconds, 0
    while time.monotonic() < ends or number < 8:
        _round(model, soak, folder / "pictures", folder / "out", number, rng)
        number += 1
        gc.collect()
        process = psutil.Process()
        soak.after_rounds.append((_handles(process), process.num_threads()))
    over.set()
    sampler.join()
    return soak


def _round(model: DepthAnything3, soak: Soak, pictures: Path, out: Path, number: int, rng: random.Random) -> None:
    pictures.mkdir()
    paths = [_file(pictures, place, rng) for place in range(_FILES)]
    common = {"process_res": rng.choice((28, 56, 98)), "num_workers": rng.randint(1, 4), "on_error": "skip"}
    common["allow_truncated"] = number % 5 == 0
    report = run_images(
        *(model, paths, out, rng.choice(("npz", "depth_vis-depth_png", "mini_npz-tiff"))),
        report_file=out / "report.json",
        batch_size=rng.randint(1, 4),
        strategy="cpu",
        **common,
    )
    scene = run_scene(model, paths[:3], out / "scene", "npz-depth_vis", **common)
    for one in (report, scene):
        soak.images += one.images
        soak.failures += len(one.failures)
    shutil.rmtree(pictures)
    shutil.rmtree(out)


def _file(folder: Path, place: int, rng: random.Random) -> Path:
    """A picture, of which one in three is damaged, and some are none."""
    width, height = rng.choice(_SIZES), rng.choice(_SIZES)
    kind = rng.choice(_KINDS)
    path = folder / f"{place:03}.{kind}"
    small = photo(max(width // 8, 1), max(height // 8, 1), rng.randrange(1000))
    Image.fromarray(cv2.resize(small, (width, height))).save(path)
    data = path.read_bytes()
    damage = rng.randrange(12)
    if damage == 0:
        data = data[: rng.randrange(len(data))]
    elif damage == 1:
        data = bytearray(data)
        for _ in range(8):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == 2:
        data = rng.choice((b"", b"no picture", b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3\1\x11\0\2\x11\0\3\x11\0"))
    elif damage == 3:
        path.unlink()
        os.mkfifo(path)
        return path
    path.write_bytes(data)
    return path


def _sample(soak: Soak, over: threading.Event) -> None:
    process, began = psutil.Process(), time.monotonic()
    while not over.wait(_SAMPLE_SECONDS):
        soak.seconds.append(time.monotonic() - began)
        soak.rss_mb.append(process.memory_info().rss / 1e6)
        soak.handles.append(_handles(process))
        soak.threads.append(process.num_threads())


def _handles(process: psutil.Process) -> int:
    return int(process.num_handles() if os.name == "nt" else process.num_fds())


def plot(soak: Soak, path: Path) -> None:
    """Memory, open files and threads over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    minutes = np.array(soak.seconds) / 60
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 5), height_ratios=(2, 1, 1), layout="constrained")
    rows = (("memory, MB", soak.rss_mb), ("open files", soak.handles), ("threads", soak.threads))
    for axis, (name, values) in zip(axes, rows, strict=True):
        axis.plot(minutes, values, linewidth=0.8)
        axis.set_ylabel(name)
        axis.set_ylim(0, 1.15 * max(values))
        axis.grid(alpha=0.3)
    axes[0].set_title(f"{soak.images:,} pictures written, {soak.failures:,} files refused, one process")
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
