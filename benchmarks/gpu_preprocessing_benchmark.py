"""Measure time, memory and fidelity of the methods from images to the network's tensor.

    uv run python benchmarks/gpu_preprocessing_benchmark.py [--quick] [--json] [--markdown] [--plot chart.png]

Compares the usual methods, ours, and the peers. Each starts from the same files in memory (decoding is timed, the disk
is not) or from the same pixels, and ends with a normalised tensor on the network's device. Cases: batches, single
images, and batches while a network-like load keeps the GPU busy. Images are photo-like JPEGs, 4:2:0, of quality 95 by
default. PSNR and the largest difference compare the 8-bit results with the CPU reference: Pillow decodes, OpenCV
resizes twice. Without a GPU, only the methods for the CPU are timed, and the others are listed as missing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.runtime.devices import choose_device
from harness.cases import Case, Row, time_methods
from harness.fork import ForkProcessor
from harness.images import SIZES, encode, make_images
from harness.machine import describe_machine
from harness.method import FILES, MEMORY, Method, Setting
from harness.methods import make_methods
from harness.report import as_json, blocks_of, draw_chart, print_report

__all__ = ["make_cases", "measure"]

BESIDE_NETWORK = "beside a network"
MIN_ROUNDS = 20
_QUICK_ROUNDS = 5
_DEFAULT_SIZES = ("VGA", "HD", "FHD", "4K")
_QUICK_SIZES = ("VGA", "FHD")

Results = tuple[dict[str, str], list[Row], dict[str, str]]
"""Machine, rows, and why each missing method is missing."""


def make_cases(
    size: str, *, batch: int = 4, quality: int = 95, single: bool = True, beside_network: bool = True
) -> list[Case]:
    """Make the cases: a batch of files and one of pixels; optionally single images, and files beside a network."""
    images = make_images(*SIZES[size], range(batch))
    files = [encode(one, quality=quality) for one in images]
    cases = [Case(size, FILES, "alone", files), Case(size, MEMORY, "alone", images)]
    if single and batch > 1:
        cases += [Case(size, FILES, "single image", files[:1]), Case(size, MEMORY, "single image", images[:1])]
    if beside_network:
        cases.append(Case(size, FILES, BESIDE_NETWORK, files))
    return cases


def measure(
    methods: Sequence[Method],
    setting: Setting,
    cases: Sequence[Case],
    *,
    rounds: int,
    seconds: float = math.inf,
    load: NetworkLoad | None = None,
) -> list[Row]:
    """Measure all rows of some cases.

    Args:
        methods: what is compared.
        setting: where they run.
        cases: in order.
        rounds: timed turns a case.
        seconds: about how long it may take; then there are fewer turns.
        load: for the rows beside a network.
    """
    rows: list[Row] = []
    began = time.monotonic()
    for done, case in enumerate(cases):
        share = max(0.0, seconds - (time.monotonic() - began)) / (len(cases) - done)
        under = load if case.condition == BESIDE_NETWORK else None
        rows += time_methods(methods, case, setting, rounds=rounds, seconds=share, load=under)
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="device of the network (default: the best one available)")
    parser.add_argument(
        "--rounds", type=int, default=MIN_ROUNDS + 1, help=f"number of timed turns, {MIN_ROUNDS} or more"
    )
    parser.add_argument("--batch", type=int, default=4, help="images per batch")
    parser.add_argument("--quality", type=int, default=95, help="quality of the JPEG files")
    parser.add_argument("--workers", type=int, default=8, help="CPU threads of each method")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="image sizes (default: VGA to 4K)")
    parser.add_argument(
        "--fork-python", type=Path, metavar="PYTHON", help=f"also time {ForkProcessor.name}, installed for this Python"
    )
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(_QUICK_SIZES)} only, fewer turns")
    parser.add_argument("--json", action="store_true", help="print JSON, with the times of all runs")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw a chart")
    parser.add_argument("--read", type=Path, metavar="FILE.json", help="show saved results of --json instead of timing")
    options = parser.parse_args()
    if options.rounds < MIN_ROUNDS and not options.quick:
        parser.error(f"--rounds must be {MIN_ROUNDS} or more, without --quick")
    return options


def _run(options: argparse.Namespace) -> Results:
    device = choose_device(options.device)
    setting = Setting.of(device, options.workers)
    sizes = options.sizes or (_QUICK_SIZES if options.quick else _DEFAULT_SIZES)
    rounds = min(options.rounds, _QUICK_ROUNDS) if options.quick else options.rounds
    methods, missing = make_methods(setting)
    if options.fork_python is None:
        missing[ForkProcessor.name] = "no --fork-python"
    else:
        methods.append(ForkProcessor(setting, options.fork_python))
    load = NetworkLoad(device) if setting.has_gpu else None
    if load is None:
        missing[BESIDE_NETWORK] = "no GPU here"
    rows: list[Row] = []
    try:
        for size in sizes:
            print(f"{size} ...", file=sys.stderr)
            cases = make_cases(size, batch=options.batch, quality=options.quality, beside_network=load is not None)
            rows += measure(methods, setting, cases, rounds=rounds, load=load)
    finally:
        for method in methods:
            method.close()
        if load is not None:
            load.close()
    machine = describe_machine(device)
    machine["task"] = f"{setting}, {rounds} turns; files are in memory, 4:2:0, quality {options.quality}"
    return machine, rows, missing


def _read(path: Path) -> Results:
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["machine"], [Row.from_dict(row) for row in found["rows"]], found["missing"]


def main() -> None:
    options = _options()
    machine, rows, missing = _read(options.read) if options.read else _run(options)
    if options.plot:
        draw_chart(options.plot, machine, rows)
    if options.json:
        print(as_json(machine, [row.as_dict() for row in rows], missing))
    else:
        print_report(Console(), machine, blocks_of(rows), missing, as_markdown=options.markdown)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
