"""Time, memory and fidelity of every way from pictures to the network's tensor: the usual ways, ours, and the peers.

    uv run python benchmarks/gpu_preprocessing_benchmark.py [--quick] [--json] [--markdown] [--plot chart.png]

Each way starts from the same files (held in memory as bytes, so that the disk takes no part; decoding counts for every
way) or from the same pixels in memory, and ends in the same thing: a normalised tensor on the device that the network
uses. Beside batches it times single pictures, and batches while a network-like load keeps the GPU busy. Pictures are
photo-like JPEGs, 4:2:0, of quality 95 unless told otherwise. PSNR and the largest difference are those of the 8-bit
results against the CPU reference: Pillow decodes, OpenCV resizes twice. Without a GPU it times what a CPU can do and
says what is missing.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console

from depth_anything_3.api import choose_device
from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.diagnostics.synthetic import photo
from harness.machine import describe_machine
from harness.method import FILES, MEMORY, Setting, Way
from harness.methods import make_ways
from harness.report import draw_chart, markdown, print_rows
from harness.timing import Case, Row, time_ways

__all__ = ["SIZES", "make_files", "make_pictures", "measure"]

SIZES = {"VGA": (640, 480), "HD": (1280, 720), "FHD": (1920, 1080), "4K": (3840, 2160), "12MP": (4032, 3024)}
"""Name to (width, height); 12MP is the usual picture of a phone."""

LEAST_ROUNDS = 20
_QUICK_ROUNDS = 5
_USUAL_SIZES = ("VGA", "HD", "FHD", "4K")
_QUICK_SIZES = ("VGA", "FHD")
_FOREVER = 1e9  # seconds


def make_pictures(size: str, count: int) -> list[npt.NDArray[np.uint8]]:
    """Photo-like pixels, different ones."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda seed: photo(*SIZES[size], seed), range(count)))


def make_files(pictures: Sequence[npt.NDArray[np.uint8]], quality: int = 95) -> list[bytes]:
    """The same as JPEG files, 4:2:0."""
    files = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
        files.append(buffer.getvalue())
    return files


def measure(
    ways: Sequence[Way],
    setting: Setting,
    size: str,
    *,
    batch: int = 4,
    quality: int = 95,
    rounds: int,
    seconds: float = _FOREVER,
    load: NetworkLoad | None = None,
    single: bool = True,
) -> list[Row]:
    """All rows of one size.

    Args:
        ways: what is compared.
        setting: where they run.
        size: one of `SIZES`.
        batch: pictures.
        quality: of the JPEG files.
        rounds: timed turns a case.
        seconds: about how long it may take; then there are fewer turns.
        load: for the rows beside a network; without it there are none.
        single: whether a single picture is timed too.
    """
    pictures = make_pictures(size, batch)
    files = make_files(pictures, quality)
    cases = [Case(size, FILES, "alone", files), Case(size, MEMORY, "alone", pictures)]
    if single and batch > 1:
        cases += [Case(size, FILES, "single picture", files[:1]), Case(size, MEMORY, "single picture", pictures[:1])]
    if load is not None:
        cases.append(Case(size, FILES, "beside a network", files))
    rows: list[Row] = []
    began = time.monotonic()
    for done, case in enumerate(cases):
        share = max(0.0, seconds - (time.monotonic() - began)) / (len(cases) - done)
        under = load if case.condition == "beside a network" else None
        rows += time_ways(ways, case, setting, rounds=rounds, seconds=share, load=under)
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="where the network is; the best there is if not given")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS + 1, help=f"timed turns, {LEAST_ROUNDS} or more")
    parser.add_argument("--batch", type=int, default=4, help="pictures at a time")
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG files")
    parser.add_argument("--workers", type=int, default=8, help="CPU threads of each way")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="VGA to 4K if not given")
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(_QUICK_SIZES)} only, fewer turns")
    parser.add_argument("--json", action="store_true", help="print JSON, with every single time")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw a chart as well")
    parser.add_argument(
        "--read", type=Path, metavar="FILE.json", help="show the results that --json gave; time nothing"
    )
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS and not options.quick:
        parser.error(f"--rounds must be {LEAST_ROUNDS} or more, without --quick")
    return options


def _run(options: argparse.Namespace) -> tuple[dict[str, str], list[Row], dict[str, str]]:
    """Machine, rows, and why each missing way is missing."""
    device = choose_device(options.device)
    setting = Setting.of(device, options.workers)
    sizes = options.sizes or (_QUICK_SIZES if options.quick else _USUAL_SIZES)
    rounds = min(options.rounds, _QUICK_ROUNDS) if options.quick else options.rounds
    ways, missing = make_ways(setting)
    load = NetworkLoad(device) if setting.has_gpu else None
    if load is None:
        missing["beside a network"] = "no GPU here"
    rows: list[Row] = []
    try:
        for size in sizes:
            print(f"{size} ...", file=sys.stderr)
            rows += measure(ways, setting, size, batch=options.batch, quality=options.quality, rounds=rounds, load=load)
    finally:
        for way in ways:
            way.close()
        if load is not None:
            load.close()
    machine = describe_machine(device)
    machine["task"] = (
        f"to {str(setting.dtype).removeprefix('torch.')} at 504 pixels on {device.type}; {options.workers} workers, "
        f"{rounds} turns; files are in memory, 4:2:0, quality {options.quality}"
    )
    return machine, rows, missing


def _read(path: Path) -> tuple[dict[str, str], list[Row], dict[str, str]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "times_ms": tuple(row["times_ms"])}) for row in found["rows"]]
    return found["machine"], rows, found["missing"]


def main() -> None:
    options = _options()
    machine, rows, missing = _read(options.read) if options.read else _run(options)
    if options.plot:
        draw_chart(options.plot, machine, rows)
    if options.json:
        listed = [row.as_dict() for row in rows]
        print(json.dumps({"machine": machine, "missing": missing, "rows": listed}, indent=1))
    elif options.markdown:
        print(markdown(machine, rows, missing))
    else:
        print_rows(Console(), machine, rows, missing)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
