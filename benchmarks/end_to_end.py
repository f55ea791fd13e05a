"""Measure the whole way, from image files on disk to depth in memory and on disk, for each engine.

    uv run python benchmarks/end_to_end.py              # eight 4K JPEGs, da3-small and da3-nano
    uv run python benchmarks/end_to_end.py --fork-python fork/bin/python --json end_to_end.json
    uv run python benchmarks/end_to_end.py --presets da3-small --images 100 --size 12MP --cases depth_png
    uv run python benchmarks/end_to_end.py --presets da3-base da3-large --images 4 --size 12MP

Each engine is a process of its own: torch, OpenVINO and ONNX Runtime in their dtypes, and with `--fork-python`
awesome-depth-anything-3 from the environment of that Python, which computes in bfloat16. They take turns in an order
that changes each round; a ratio is the median of the ratios of single rounds. `memory` ends with depth as numpy arrays
(`model.stream`, the fork's `batch_inference`), `depth_png` with 16-bit PNG files (the job of `da3 images`; the fork's
depth is written by OpenCV, as it has no such format). Loading, converting and one round of warm-up are not timed. The
files have just been written, so they are in the page cache.

Weights are random with a fixed seed, the same for all; those of da3-nano are trained. AbsRel is the mean difference of
depth from torch in float32, relative to it. Peak memory is that of the process, from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is there

import numpy as np
import torch
from rich.console import Console

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.runtime.devices import choose_device
from harness.child import Child
from harness.depth_process import FORK, DepthEngine, DepthJob, depth_process
from harness.images import SIZES, encode, make_images, parse_size
from harness.machine import describe_machine
from harness.network_engines import ENGINES, depth_errors
from harness.report import Block, as_json, print_report
from harness.seeded_network import write_seeded_checkpoint
from harness.timing import Timing, ratio, take_turns, timed

__all__ = ["Comparison", "EndToEnd", "EngineFacts", "measure_preset", "rows_of_case"]

CASES = ("memory", "depth_png")
DIFFERENT = 8  # images; more files are copies of them
BASE = ENGINES[0].name
console = Console(highlight=False, soft_wrap=True, width=140)


@dataclass(frozen=True)
class Comparison:
    """What is measured.

    Attributes:
        engines: each in a process of its own.
        cases: of `CASES`.
        size: of the images, for the report.
        rounds: timed rounds of each case.
        seconds: after which a case starts no further round.
    """

    engines: Sequence[DepthEngine]
    cases: Sequence[str]
    size: str
    rounds: int
    seconds: float


@dataclass(frozen=True)
class EngineFacts:
    """What is found about an engine beside its times.

    Attributes:
        abs_rel: see the module; None without torch in float32, or if the shapes differ.
        peak_mb, gpu_peak_mb: peak memory.
    """

    abs_rel: float | None
    peak_mb: float
    gpu_peak_mb: float


@dataclass(frozen=True)
class EndToEnd:
    """One row: an engine in one case.

    Attributes:
        images_per_second: of the median round.
        times_torch, times_fork: times faster than torch in float32, and than the faster of the fork's rows.
        seconds: of each round.
    """

    preset: str
    case: str
    images: int
    size: str
    engine: str
    images_per_second: float
    times_torch: float | None
    times_fork: float | None
    abs_rel: float | None
    peak_mb: float
    gpu_peak_mb: float
    seconds: tuple[float, ...]


def rows_of_case(
    preset: str, case: str, images: int, size: str, timings: Mapping[str, Timing], facts: Mapping[str, EngineFacts]
) -> list[EndToEnd]:
    """Make the rows of a case."""
    timings = {name: one for name, one in timings.items() if one.turns}
    forks = [name for name in timings if name.startswith(FORK)]
    fork = min(forks, key=lambda name: timings[name].median_ms, default=None)

    def times(name: str, other: str | None) -> float | None:
        return ratio(timings[other].times_ms, timings[name].times_ms) if other in timings else None

    return [
        EndToEnd(
            *(preset, case, images, size, name, 1e3 * images / timing.median_ms),
            *(times(name, BASE), times(name, fork), facts[name].abs_rel, facts[name].peak_mb, facts[name].gpu_peak_mb),
            tuple(round(one / 1e3, 4) for one in timing.times_ms),
        )
        for name, timing in timings.items()
    ]


def measure_preset(
    preset: str, job: DepthJob, plan: Comparison, photos: Sequence[Path], scratch: Path
) -> tuple[list[EndToEnd], dict[str, str]]:
    """Measure all engines with one preset; also return why engines are missing."""
    missing: dict[str, str] = {}
    depths: dict[str, np.ndarray] = {}
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for engine in plan.engines:
            name = engine.name
            try:
                reason = engine.unsupported_reason(preset, job.device)
                if reason:
                    raise UnsupportedError(reason)
                child = stack.enter_context(depth_process(job, engine, photos))
                result = scratch / f"depth-{len(children)}.npy"
                child.ask(["run", list(map(str, photos[:DIFFERENT])), None, str(result)])
                depths[name], children[name] = np.load(result), child
            except UnsupportedError as error:
                missing[f"{preset}, {name}"] = str(error)
        timed_cases: dict[str, dict[str, Timing]] = {}
        for case in plan.cases:
            calls = {name: timed(partial(_run, child, photos, case, scratch)) for name, child in children.items()}
            timed_cases[case] = take_turns(calls, rounds=plan.rounds, seconds=plan.seconds, catch=(UnsupportedError,))
        for case, timings in timed_cases.items():
            missing |= {f"{preset}, {name}, {case}": one.failure for name, one in timings.items() if one.failure}
        sound = [name for name in children if not any(one[name].failure for one in timed_cases.values())]
        facts = {name: _facts(name, children[name], depths) for name in sound}
    rows = [
        row
        for case, timings in timed_cases.items()
        for row in rows_of_case(*(preset, case, len(photos), plan.size), {name: timings[name] for name in facts}, facts)
    ]
    return rows, missing


_turns = count()


def _run(child: Child, photos: Sequence[Path], case: str, scratch: Path) -> None:
    folder = None if case == "memory" else str(scratch / f"out-{next(_turns)}")
    done = child.ask(["run", list(map(str, photos)), folder, None])
    if done != len(photos):
        raise UnsupportedError(f"{done} results of {len(photos)} images")


def _facts(name: str, child: Child, depths: Mapping[str, np.ndarray]) -> EngineFacts:
    own, base = depths[name], depths.get(BASE)
    known = base is not None and base.shape == own.shape
    error = depth_errors(torch.from_numpy(own), torch.from_numpy(base))["abs_rel"] if known else None
    return EngineFacts(error, *child.ask(["peak"]))


def write_photos(folder: Path, images: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files of quality 95, 4:2:0."""
    folder.mkdir()
    files = [encode(one) for one in make_images(*size, range(min(images, DIFFERENT)))]
    paths = [folder / f"{place:04}.jpg" for place in range(images)]
    for place, path in enumerate(paths):
        path.write_bytes(files[place % len(files)])
    return paths


def blocks_of_results(rows: Sequence[EndToEnd]) -> list[Block]:
    """Make a table for each preset and case."""
    columns = ("engine", "images/s", "times torch float32", "times the fork", "AbsRel", "peak MB", "GPU MB", "rounds")
    blocks = []
    for preset, case in dict.fromkeys((row.preset, row.case) for row in rows):
        block = [row for row in rows if (row.preset, row.case) == (preset, case)]
        title = f"{preset}: {block[0].images} JPEGs of {block[0].size} to {case}"
        blocks.append(Block(title, columns, [_cells(row) for row in block]))
    return blocks


def _cells(row: EndToEnd) -> list[str]:
    times = ("-" if one is None else f"{one:.2f}" for one in (row.times_torch, row.times_fork))
    error = "-" if row.abs_rel is None else f"{row.abs_rel:.1e}" if row.abs_rel else "0"
    gpu = f"{row.gpu_peak_mb:.0f}" if row.gpu_peak_mb else "-"
    return [row.engine, f"{row.images_per_second:.3g}", *times, error, f"{row.peak_mb:.0f}", gpu, str(len(row.seconds))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [one.name for one in ENGINES]
    parser.add_argument("--presets", nargs="+", choices=MODEL_CARDS, default=["da3-small", "da3-nano"])
    parser.add_argument("--engines", nargs="+", choices=names, default=names)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", default="4K", help=f"{', '.join(SIZES)} or WIDTHxHEIGHT")
    parser.add_argument("--process-res", type=int, help="default: 504, da3-nano 224")
    parser.add_argument("--batch-size", default="auto", help="of our engines")
    parser.add_argument("--fork-python", type=Path, help=f"Python 3.11 or later that has {FORK}")
    parser.add_argument("--fork-batches", nargs="+", default=["1", "auto"], help="the fork takes a batch as one scene")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=600.0, help="time after which a case starts no further round")
    parser.add_argument("--cache", type=Path, help="folder of converted networks (Linux); default: temporary")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def _batch_size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _plan(options: argparse.Namespace) -> Comparison:
    ours = [one for one in ENGINES if one.name in options.engines]
    engines = [DepthEngine(one.backend.value, one.dtype_name, _batch_size(options.batch_size)) for one in ours]
    if options.fork_python:
        engines += [DepthEngine(FORK, "bfloat16", _batch_size(one)) for one in options.fork_batches]
    return Comparison(engines, options.cases, options.size, options.rounds, options.seconds)


def main() -> None:
    options = _arguments()
    device, plan = choose_device(options.device), _plan(options)
    machine = {**describe_machine(device), "page cache": "warm"}
    rows: list[EndToEnd] = []
    missing: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="da3-end-to-end-") as folder,
        nullcontext(options.cache) if options.cache else tempfile.TemporaryDirectory() as cache,
    ):
        scratch = Path(folder)
        size = SIZES[options.size] if options.size in SIZES else parse_size(options.size)
        photos = write_photos(scratch / "photos", options.images, size)
        for preset in options.presets:
            seeded = preset != "da3-nano"
            checkpoint = str(write_seeded_checkpoint(preset, scratch / preset)) if seeded else preset
            job = DepthJob(checkpoint, device.type, options.process_res, Path(cache).absolute(), options.fork_python)
            found, reasons = measure_preset(preset, job, plan, photos, scratch)
            rows += found
            missing |= reasons
    print_report(console, machine, blocks_of_results(rows), missing, as_markdown=options.markdown)
    if options.json:
        options.json.write_text(as_json(machine, [asdict(row) for row in rows], missing), encoding="utf-8")


if __name__ == "__main__":
    main()
