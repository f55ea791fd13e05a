"""Run rounds of images and views, of good and damaged files, in one process for a given time."""

from __future__ import annotations

import gc
import logging
import os
import random
import shutil
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inference.options import BatchOptions, StreamOptions
from depth_anything_3.inference.views import ViewOptions
from depth_anything_3.inputs.choices import OnError, Strategy
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.images import run_images
from depth_anything_3.jobs.views import run_views
from harness.watch import Sample, Watch, quarters

__all__ = ["Soak", "soak"]

_LEEWAY_MB = 50.0
_FILES = 60  # a round
_MIN_ROUNDS = 8
_SAMPLE_SECONDS = 2.0
_KINDS = ("jpg", "jpg", "jpg", "png", "webp", "bmp", "tif", "gif")
_SIZES = range(40, 1200)
_NO_IMAGES = (b"", b"no image", b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\3\1\x11\0\2\x11\0\3\x11\0")


@dataclass
class Soak:
    """Measurements of a soak test.

    Attributes:
        images, failures: images written, and files that failed.
        samples: over time.
        after_rounds: one when each round was over.
    """

    images: int = 0
    failures: int = 0
    samples: list[Sample] = field(default_factory=list)
    after_rounds: list[Sample] = field(default_factory=list)

    def grown(self) -> list[str]:
        """Names of the gauges that grew; empty if all stayed flat."""
        _, second, third, fourth = quarters([one.rss_mb for one in self.samples])
        grew = [f"memory: {fourth - second:+.0f} MB"] * (max(third, fourth) > second + _LEEWAY_MB)
        first, last = self._left_behind()
        names = ("open files", "threads")
        return grew + [f"{name}: {a:.0f} to {b:.0f}" for name, a, b in zip(names, first, last, strict=True) if b > a]

    def _left_behind(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Maximum of open files and threads after rounds of the first quarter, and of the last."""
        files = quarters([one.open_files for one in self.after_rounds])
        threads = quarters([one.threads for one in self.after_rounds])
        return (files[0], threads[0]), (files[3], threads[3])

    def __str__(self) -> str:
        peaks = ", ".join(f"{one:.0f}" for one in quarters([one.rss_mb for one in self.samples]))
        first, last = self._left_behind()
        return (
            f"{self.samples[-1].seconds / 60:.1f} minutes, {len(self.after_rounds)} rounds, {self.images:,} images "
            f"written, {self.failures:,} failed; peak MB by quarter {peaks}\n"
            f"most open files and threads after a round: {first[0]:.0f} and {first[1]:.0f} at first, {last[0]:.0f} and "
            f"{last[1]:.0f} at last\n{'; '.join(self.grown()) or 'flat'}"
        )


def soak(model: DepthAnything3, seconds: float, folder: Path) -> Soak:
    """Run rounds until the time is over."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("depth_anything_3").setLevel(logging.ERROR)
    found, watch, rng = Soak(), Watch(), random.Random(1)
    ends, number = time.monotonic() + seconds, 0
    with watch.watching(_SAMPLE_SECONDS):
        while time.monotonic() < ends or number < _MIN_ROUNDS:
            _round(model, found, folder / "in", folder / "out", number, rng)
            number += 1
            gc.collect()
            watch.done = number
            found.after_rounds.append(watch.sample())
    found.samples = watch.samples
    return found


def _round(model: DepthAnything3, found: Soak, source: Path, out: Path, number: int, rng: random.Random) -> None:
    source.mkdir()
    paths = [_write_file(source, place, rng) for place in range(_FILES)]
    preprocess = PreprocessOptions(
        process_res=rng.choice((28, 56, 98)),
        num_workers=rng.randint(1, 4),
        on_error=OnError.SKIP,
        allow_truncated=number % 5 == 0,
    )
    formats = rng.choice(("npz", "depth_vis-depth_png", "mini_npz-tiff"))
    images = run_images(
        model.engine,
        paths,
        Destination(folder=out, formats=formats),
        StreamOptions(
            preprocess=replace(preprocess, strategy=Strategy.CPU),
            batching=BatchOptions(batch_size=rng.randint(1, 4)),
        ),
        report_file=out / "report.json",
    )
    views = run_views(
        model.engine,
        paths[:3],
        Destination(folder=out / "views", formats="npz-depth_vis"),
        ViewOptions(preprocess=preprocess),
    )
    for report in (images, views):
        found.images += report.images
        found.failures += len(report.failures)
    shutil.rmtree(source)
    shutil.rmtree(out)


def _write_file(folder: Path, place: int, rng: random.Random) -> Path:
    """Make a file: one in three is damaged, and some are not images."""
    width, height = rng.choice(_SIZES), rng.choice(_SIZES)
    path = folder / f"{place:03}.{rng.choice(_KINDS)}"
    small = photo(max(width // 8, 1), max(height // 8, 1), rng.randrange(1000))
    Image.fromarray(np.asarray(cv2.resize(small, (width, height)))).save(path)
    data = bytearray(path.read_bytes())
    damage = rng.randrange(12)
    if damage == 0:
        del data[rng.randrange(len(data)) :]
    elif damage == 1:
        for _ in range(8):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == 2:
        data[:] = rng.choice(_NO_IMAGES)
    elif damage == 3:
        path.unlink()
        os.mkfifo(path)
        return path
    path.write_bytes(data)
    return path
