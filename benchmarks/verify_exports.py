"""Export presets with seeded weights, and verify the files in every installed library that runs them.

    uv run python benchmarks/verify_exports.py da3-nano da3-small da3-base

Each preset is exported as ONNX and OpenVINO, of one size, with a dynamic batch, and of any size,
in float32 or what `--dtype` names. One line per file: the largest error of any output, the
AbsRel of depth, wall and processor seconds of export and verification. Exit status 1 if a file fails.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error
from depth_anything_3.exported.specification import Dynamic, GraphDtype, ModelFormat, Output
from depth_anything_3.exported.verification import Verification
from harness.machine import describe_machine
from harness.report import print_facts
from harness.seeded_network import seed_weights

_BUNDLED = "da3-nano"
_SUFFIXES = {ModelFormat.ONNX: ".onnx", ModelFormat.OPENVINO: ".xml"}


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        model: preset, or the bundled model.
        format: format of the file.
        dynamic: which axes may vary.
        dtype: dtype of the computation.
    """

    model: str
    format: ModelFormat
    dynamic: Dynamic
    dtype: GraphDtype


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        wall_s, processor_s: seconds of export and verification.
        verification: None if it failed.
        problem: why it failed.
    """

    wall_s: float
    processor_s: float
    verification: Verification | None = None
    problem: str = ""


def main() -> int:
    """Run the cases, print a line for each, and return the exit status."""
    args = _arguments()
    console = Console()
    print_facts(console, describe_machine())
    table = Table("model", "format", "dynamic", "dtype", "largest error", "AbsRel", "wall s", "CPU s", box=box.MARKDOWN)
    failed = []
    for name in args.models:
        model = _load(name)
        for case in _cases(name, args):
            outcome = _run(model, case, args.views)
            row = _row(case, outcome)
            print("  ".join(row), file=sys.stderr, flush=True)
            table.add_row(*row)
            if outcome.problem:
                failed.append(f"{case}: {outcome.problem}")
        del model
        gc.collect()
    console.print(table)
    for line in failed:
        print(line)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="presets, or da3-nano")
    parser.add_argument("--format", nargs="+", type=ModelFormat, default=list(_SUFFIXES), choices=list(_SUFFIXES))
    parser.add_argument("--dynamic", nargs="+", type=Dynamic, default=list(Dynamic))
    parser.add_argument("--dtype", nargs="+", type=GraphDtype, default=[GraphDtype.FLOAT32])
    parser.add_argument("--views", default="1", help='of any-view presets: a number, or "dynamic"')
    return parser.parse_args()


def _cases(name: str, args: argparse.Namespace) -> Iterator[Case]:
    for format in args.format:
        for dynamic in args.dynamic:
            for dtype in args.dtype:
                yield Case(name, format, dynamic, dtype)


def _load(name: str) -> DepthAnything3:
    if name == _BUNDLED:
        return DepthAnything3.from_pretrained(name)
    model = DepthAnything3(name)
    seed_weights(model.model)
    return model


def _run(model: DepthAnything3, case: Case, views: str) -> Outcome:
    wall, processor = time.perf_counter(), time.process_time()
    verification, problem = None, ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{_SUFFIXES[case.format]}"
        try:
            verification = model.export_model(
                path,
                dynamic=case.dynamic.value,
                dtype=case.dtype.value,
                views="dynamic" if views == "dynamic" else int(views),
            )
        except DA3Error as error:
            problem = str(error)
    return Outcome(time.perf_counter() - wall, time.process_time() - processor, verification, problem)


def _row(case: Case, outcome: Outcome) -> list[str]:
    largest = absrel = "failed"
    if outcome.verification is not None:
        cases = outcome.verification.cases
        largest = f"{max((one.max_error or 0.0 for one in cases), default=0.0):.1e}"
        absrel = f"{max((one.mean_error or 0.0 for one in cases if one.output is Output.DEPTH), default=0.0):.1e}"
    facts = [case.model, case.format.value, case.dynamic.value, case.dtype.value, largest, absrel]
    return [*facts, f"{outcome.wall_s:.0f}", f"{outcome.processor_s:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
