"""Measure how long `da3 image` takes from start to exit, beside `import torch`, and where the time goes.

    uv run python benchmarks/startup.py                  # about a minute on two idle cores

The image is a photo-like JPEG of 12 megapixels, the model da3-nano. Both processes run in turns, after one turn that
fills the page cache and the caches of bytecode and machine code. Python must be able to write bytecode
(`PYTHONDONTWRITEBYTECODE` is removed), else it compiles every module in every run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from depth_anything_3.diagnostics.synthetic import photo_jpeg
from harness.machine import describe_machine
from harness.report import print_facts

FACTOR, EXTRA_S = 1.2, 1.0
"""The bound: FACTOR times `import torch`, and EXTRA_S seconds."""

_IMPORT_TORCH = [sys.executable, "-c", "import torch"]
# What the command does, step by step; prints wall seconds since the start of Python for each step.
_STEPS = """
import json, os, sys, time
def note(step):
    times[step] = time.time() - float(os.environ["DA3_BEGUN"])
times = {}
note("start Python")
import torch; note("import torch")
import numba; note("import numba")
import cv2, PIL.Image, typer, rich.console; note("import OpenCV, Pillow, typer, rich")
from depth_anything_3.api import DepthAnything3
from depth_anything_3.jobs import images as job
from depth_anything_3 import cli; note("import the package")
image = sys.modules["depth_anything_3.cli.image"]
loaded, run = image.load_model, job.run_images
def load_model(*given):
    model = loaded(*given); note("parse the command, load the model"); return model
def run_images(*given, **options):
    report = run(*given, **options); note("the image"); times["stages"] = report.stage_seconds; return report
image.load_model, job.run_images = load_model, run_images
try:
    cli.main()
except SystemExit:
    pass
note("report"); json.dump(times, open(os.environ["DA3_STEPS"], "w"))
"""


@dataclass(frozen=True)
class Run:
    """Wall and processor time of one process, in seconds."""

    wall: float
    cpu: float


def timed_run(command: list[str], more: dict[str, str] | None = None) -> Run:
    """Run a process to its end."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | (more or {})
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:3])}: exit code {done.returncode}\n{done.stderr}")
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def steps_of(arguments: list[str], folder: Path) -> dict[str, float]:
    """Run the command step by step; return the seconds of each step."""
    file = folder / "steps.json"
    whole = timed_run(
        [sys.executable, "-c", _STEPS, *arguments], {"DA3_STEPS": str(file), "DA3_BEGUN": str(time.time())}
    )
    times = json.loads(file.read_text())
    stages, steps, before = times.pop("stages"), {}, 0.0
    for step, seconds in times.items():
        steps[step], before = seconds - before, seconds
    prepared = steps.pop("the image")
    report = steps.pop("report")
    for stage, seconds in stages.items():
        steps[f"image: {stage}"] = seconds
    return {**steps, "image: rest, report": prepared - sum(stages.values()) + report, "exit": whole.wall - before}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("flags", nargs="*", help="more flags of da3 image, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photo.jpg").write_bytes(photo_jpeg(4032, 3024, 7))
        given = ["image", str(folder / "photo.jpg"), "--model-dir", "da3-nano", "--export-dir", str(folder / "results")]
        arguments = [*given, "--overwrite", *options.flags]
        commands = {"import torch": _IMPORT_TORCH, "da3 image": [sys.executable, "-m", "depth_anything_3", *arguments]}
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        steps = []
        for turn in range(options.rounds + 1):
            for name in sorted(commands, reverse=bool(turn % 2)):
                runs[name].append(timed_run(commands[name]))
            steps.append(steps_of(arguments, folder))
    print_results({name: own[1:] for name, own in runs.items()}, steps[1:])


def print_results(runs: dict[str, list[Run]], steps: list[dict[str, float]]) -> None:
    """Print both processes, the bound, and the medians of the steps."""
    console = Console(width=120, highlight=False)
    print_facts(console, describe_machine())
    table = Table("process", "wall s, median", "minimum", "CPU s, median", "minimum", box=box.MARKDOWN)
    for name, own in runs.items():
        walls, cpus = [one.wall for one in own], [one.cpu for one in own]
        columns = (statistics.median(walls), min(walls), statistics.median(cpus), min(cpus))
        table.add_row(name, *(f"{one:.2f}" for one in columns))
    console.print(table)
    pairs = list(zip(runs["import torch"], runs["da3 image"], strict=True))
    left = [FACTOR * torch.wall + EXTRA_S - ours.wall for torch, ours in pairs]
    met = sum(one >= 0 for one in left)
    console.print(f"bound met in {met} of {len(left)} pairs; median left: {statistics.median(left):.2f} s")
    table = Table("step", "wall ms, median", box=box.MARKDOWN)
    for step in steps[0]:
        table.add_row(re.sub("_", " ", step), f"{1e3 * statistics.median(one[step] for one in steps):.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
