"""Does memory stay flat over a thousand pictures of mixed sizes? Through `InputProcessor`, and through `da3 images`.

    uv run python benchmarks/memory.py [--images 1000]

Resident memory is read while pictures are done; the growth is the largest value after the first hundred, less the
largest within them. The command runs `da3-small` with random weights at a small size: memory is measured, not depth.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from depth_anything_3.api import DepthAnything3
from depth_anything_3.synthetic import photo_jpeg
from depth_anything_3.utils.io.input_processor import InputProcessor
from machine import describe_machine

SIZES = ((640, 480), (1280, 720), (1920, 1080), (1080, 1920), (3024, 4032), (3840, 2160), (800, 800), (505, 379))
SETTLED_AFTER = 100
LIMIT_MB = 100


def make_pictures(folder: Path, count: int) -> list[Path]:
    """`count` files of 16 different pictures, sizes mixed."""
    rng = np.random.default_rng(0)
    originals = [photo_jpeg(*SIZES[index % len(SIZES)], seed=index) for index in range(2 * len(SIZES))]
    paths = []
    for index, choice in enumerate(rng.integers(0, len(originals), count)):
        path = folder / f"{index:05d}.jpg"
        path.write_bytes(originals[choice])
        paths.append(path)
    return paths


def growth_mb(samples: Iterable[tuple[int, int]]) -> tuple[float, float]:
    """Peak of the settled part in MB, and how far it exceeds the peak before, from (pictures done, bytes)."""
    listed = list(samples)
    before = max(size for done, size in listed if done <= SETTLED_AFTER)
    after = max(size for done, size in listed if done > SETTLED_AFTER)
    return after / 1e6, (after - before) / 1e6


def through_processor(paths: list[Path]) -> tuple[float, float]:
    """Prepare all pictures in this process."""
    process = psutil.Process()
    with InputProcessor() as processor:
        results = processor.iterate(paths, num_workers=8)
        return growth_mb((done, process.memory_info().rss) for done, _ in enumerate(results, 1))


def through_command(folder: Path, checkpoint: Path, output: Path) -> tuple[float, float]:
    """Run the real command and watch it from outside."""
    command = [str(Path(sys.executable).with_name("da3")), "images", str(folder), "--model-dir", str(checkpoint)]
    command += ["--export-dir", str(output), "--export-format", "depth_png", "--process-res", "112"]
    samples = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        watched = psutil.Process(running.pid)
        while running.poll() is None:
            done = sum(1 for _ in output.glob("depth_png/*.png"))
            try:
                samples.append((done, watched.memory_info().rss))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.1)
    if running.returncode:
        raise SystemExit(f"da3 images failed with exit code {running.returncode}")
    return growth_mb(sample for sample in samples if sample[0] and sample[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    console = Console()
    for key, value in describe_machine().items():
        console.print(f"{key}: {value}", highlight=False)
    scratch = Path(tempfile.mkdtemp(prefix="da3-memory-"))
    failed = False
    try:
        pictures = scratch / "pictures"
        pictures.mkdir()
        paths = make_pictures(pictures, options.images)
        DepthAnything3("da3-small").save_pretrained(scratch / "checkpoint")
        for name, (peak, growth) in {
            "InputProcessor": through_processor(paths),
            "da3 images": through_command(pictures, scratch / "checkpoint", scratch / "out"),
        }.items():
            verdict = "flat" if growth < LIMIT_MB else "NOT FLAT"
            failed |= growth >= LIMIT_MB
            console.print(
                f"{name}: {options.images} pictures, peak {peak:.0f} MB, {growth:+.0f} MB after the first "
                f"{SETTLED_AFTER}: {verdict} (limit {LIMIT_MB} MB)",
                highlight=False,
            )
    finally:
        shutil.rmtree(scratch)
    sys.exit(failed)


if __name__ == "__main__":
    main()
