"""Time from pictures to the network's tensor on the CPU: ours against the reference's way, side by side in one run.

    uv run python benchmarks/cpu_preprocessing.py [--rounds 25] [--workers 8] [--json] [--svg FILE]

The reference way is upstream's arithmetic: Pillow decode, one OpenCV resize after the other, float normalisation, a
stack, in a pool of the same number of threads. Both start from the same files (in memory, so that the disk takes no
part) or the same arrays, and end in a float32 tensor (4, 3, H, W). The ways take turns, so a slow moment of the machine
meets both; the ratio is the median of the ratios of one turn. Largest difference and PSNR are of the 8-bit results.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from depth_anything_3.synthetic import photo
from depth_anything_3.utils.io.input_processor import InputProcessor
from depth_anything_3.utils.io.normalize import MEAN, STD
from depth_anything_3.utils.io.resample import resample_stepwise
from depth_anything_3.utils.io.resize_plan import plan_resize
from machine import describe_machine

SIZES = {"VGA": (640, 480), "HD": (1280, 720), "FHD": (1920, 1080), "4K": (3840, 2160)}
BATCH = 4
WARM_UP = 3


@dataclass(frozen=True)
class Result:
    """One size and starting point. Times in milliseconds for the batch of 4."""

    size: str
    start: str
    reference_ms: float
    ours_ms: float
    ours_p95_ms: float
    ratio: float
    largest_difference: int
    psnr_db: float


class ReferenceWay:
    """What upstream does to each picture, with the same number of threads."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._mean = np.array(MEAN, np.float32)
        self._std = np.array(STD, np.float32)

    def __call__(self, inputs: Sequence[bytes | np.ndarray]) -> torch.Tensor:
        """Prepare a batch."""
        return torch.stack(list(self._pool.map(self._one, inputs)))

    def _one(self, image: bytes | np.ndarray) -> torch.Tensor:
        rgb = image if isinstance(image, np.ndarray) else np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
        small = resample_stepwise(rgb, plan_resize(rgb.shape[:2]))
        normalised = (small.astype(np.float32) / np.float32(255) - self._mean) / self._std
        return torch.from_numpy(normalised).permute(2, 0, 1)


def timed(call: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Milliseconds and result of one call."""
    began = time.perf_counter()
    result = call()
    return 1e3 * (time.perf_counter() - began), result


def compare(size: str, start: str, inputs: list, workers: int, rounds: int) -> Result:
    """Let the two ways take turns on one batch."""
    reference = ReferenceWay(workers)
    processor = InputProcessor()
    ways = (lambda: reference(inputs), lambda: processor(inputs, num_workers=workers).tensor)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP + rounds):
        for way, kept in zip(ways, times, strict=True):
            ms, _ = timed(way)
            if turn >= WARM_UP:
                kept.append(ms)
    std, mean = torch.tensor(STD).view(3, 1, 1), torch.tensor(MEAN).view(3, 1, 1)
    theirs, ours = (((way() * std + mean) * 255).round() for way in ways)
    error = float(((theirs - ours) ** 2).mean())
    return Result(
        size,
        start,
        statistics.median(times[0]),
        statistics.median(times[1]),
        float(np.percentile(times[1], 95)),
        statistics.median(a / b for a, b in zip(*times, strict=True)),
        int((theirs - ours).abs().max()),
        float("inf") if error == 0 else 10 * float(np.log10(255**2 / error)),
    )


def chart(results: Sequence[Result], machine: dict[str, str]) -> str:
    """Horizontal bars, ours below the reference, as SVG."""
    left, bar, gap, width = 150, 14, 18, 420
    longest = max(one.reference_ms for one in results)
    rows = []
    for index, one in enumerate(results):
        top = 64 + index * (2 * bar + gap)
        rows.append(f'<text x="{left - 10}" y="{top + bar + 5}" text-anchor="end">{one.size}, from {one.start}</text>')
        for line, (ms, colour) in enumerate(((one.reference_ms, "#b0b7c3"), (one.ours_ms, "#2f7ed8"))):
            length, y = width * ms / longest, top + line * bar
            label = f"{ms:.0f} ms" if line == 0 else f"{ms:.0f} ms ({one.ratio:.1f} times faster)"
            rows.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{colour}"/>')
            rows.append(f'<text x="{left + length + 6:.1f}" y="{y + bar - 3}" font-size="12">{label}</text>')
    height = 64 + len(results) * (2 * bar + gap) + 20
    title = f"{BATCH} pictures to the network's tensor: the reference's way (grey), ours (blue)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height}" '
        f'font-family="sans-serif" font-size="14">'
        f'<rect width="100%" height="100%" fill="white"/><text x="20" y="26" font-size="16">{title}</text>'
        f'<text x="20" y="46" font-size="12" fill="#666">{machine["processor"]}, {machine["date"]}; '
        f"median, photo-like pictures, JPEG quality 95</text>{''.join(rows)}</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--svg", type=Path, help="draw the result as a chart")
    options = parser.parse_args()

    results = []
    for name in options.sizes:
        pictures = [photo(*SIZES[name], seed) for seed in range(BATCH)]
        files = []
        for picture in pictures:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling="4:2:0")
            files.append(buffer.getvalue())
        for start, inputs in (("files", files), ("memory", pictures)):
            results.append(compare(name, start, inputs, options.workers, options.rounds))

    machine = describe_machine()
    if options.svg:
        options.svg.write_text(chart(results, machine), encoding="utf-8")
    if options.json:
        print(json.dumps({"machine": machine, "results": [asdict(one) for one in results]}, indent=2))
        return
    console = Console()
    for key, value in machine.items():
        console.print(f"{key}: {value}", highlight=False)
    title = f"{BATCH} pictures to a float32 tensor at 504, {options.workers} workers, median of {options.rounds} rounds"
    table = Table(title=title)
    for column in ("size", "from", "reference ms", "ours ms", "p95", "times faster", "max LSB", "PSNR dB"):
        table.add_column(column, justify="left" if column in ("size", "from") else "right")
    for one in results:
        table.add_row(
            one.size, one.start, f"{one.reference_ms:.1f}", f"{one.ours_ms:.1f}", f"{one.ours_p95_ms:.1f}",
            f"{one.ratio:.2f}", str(one.largest_difference), f"{one.psnr_db:.1f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
