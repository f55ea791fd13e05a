"""Run all checks and measurements that need an NVIDIA GPU, in less than eight minutes.

    PYTHONPATH=src python benchmarks/gpu_suite.py --out results

Sections: correctness of every GPU strategy against the CPU, pixels of earlier images, the benchmark's table with the
peers, the parts of the time budget, times of the kernels against the memory bandwidth, the network from a CUDA graph,
the tests marked `gpu`, the throughput from disk to disk, races, the network's speed, and leaks. Each runs in its own
process with a time limit, so that a crash or a broken CUDA context affects only that section. A summary is printed
last; `suite.json`, `suite.log` and `table.json` (for `gpu_preprocessing_benchmark.py --read`) hold the details. The
exit code is 1 if a check failed. Without a GPU, only the checks that a CPU can run are made. `--rehearse` uses the CPU
in place of the GPU, to test the code; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FoundTests", "main", "read_tests"]

# Only the standard library up here: what is missing on a machine must be reported, section by section.

SECTIONS = {
    "facts": 30,
    "operators": 50,
    "decoders": 50,
    "stale_pixels": 20,
    "table": 80,
    "budget": 35,
    "kernels": 30,
    "graphs": 20,
    "tests": 120,
    "disk_to_disk": 75,
    "races": 35,
    "network": 60,
    "leaks": 25,
}
"""Name (of a module in `gpu_checks`, but for the tests) to the most seconds it may take, the most important first.

Together they may take longer than the suite: what there is no time for is skipped, and run with `--only`.
"""

_STARTED = time.monotonic()
_NEED_NO_GPU = ("facts", "table")
_SECONDS = 455
_GRACE = 12  # between a section's own end of time and being stopped
_MIN_SECONDS = 8  # seconds that are worth starting a section for
_QUICK_SECONDS = {"table": 30}
_REHEARSAL_FACTOR = 2  # of the limits: a CPU in place of a GPU is slow
_LINE = 110
_MAX_FAILED = 1000  # characters
_PASSED_SHOWN = 16  # of a section with more, the lines that passed are in the files only
_TESTS = Path(__file__).parent.parent / "tests" / "gpu"

Found = dict[str, Any]  # Any: an outcome as JSON


@dataclass
class Section:
    """Result of one section."""

    name: str
    seconds: float = 0.0
    outcomes: list[Found] = field(default_factory=list)

    def add(self, status: str, text: str) -> None:
        """Add an outcome of the suite itself."""
        self.outcomes.append({"name": f"section {self.name}", "status": status, "text": text, "data": {}})


def main() -> None:
    options = _options()
    if options.section:
        _run_section(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.json").unlink(missing_ok=True)  # an older one is not this run's
    began = time.monotonic()
    sections: list[Section] = []
    has_gpu = True
    if options.rehearse:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads would spin beside other work
    with tempfile.TemporaryDirectory(prefix="da3-suite-") as scratch:
        for name in options.only or SECTIONS:
            left = options.seconds - (time.monotonic() - began)
            seconds = min(_slowness(options) * SECTIONS[name], left - _GRACE)
            section = _section(name, seconds, has_gpu, Path(scratch), options)
            sections.append(section)
            if name == "facts":
                has_gpu = options.rehearse or _says_cuda(section)
            print(f"{name}: {section.seconds:.0f} s", file=sys.stderr, flush=True)
            _save(sections, Path(scratch), options.out)
    _print_result(sections, options.out, time.monotonic() - began)
    sys.exit(any(one["status"] == "FAILED" for section in sections for one in section.outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-suite"), help="folder for the detailed results")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="run only these sections")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="time limit of the whole suite")
    parser.add_argument("--workers", type=int, default=8, help="CPU threads")
    parser.add_argument("--quick", action="store_true", help="use few and small images, and few repeats")
    parser.add_argument("--rehearse", action="store_true", help="use the CPU in place of the GPU")
    parser.add_argument("--section", help=argparse.SUPPRESS)  # for the process of a section
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_section(options: argparse.Namespace) -> None:
    """Run a section in this process."""
    import torch

    from gpu_checks.outcome import Report
    from harness.method import Setting

    report = Report(options.part, options.seconds - (time.monotonic() - _STARTED))  # importing counts
    device = torch.device("cuda" if torch.cuda.is_available() and not options.rehearse else "cpu")
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    setting = Setting.of(device, options.workers, rehearse=options.rehearse)
    with report.guard(f"section {options.section}"):
        run = importlib.import_module(f"gpu_checks.{options.section}").run
        run(report, setting, options.quick or options.rehearse or device.type == "cpu")


def _slowness(options: argparse.Namespace) -> int:
    return _REHEARSAL_FACTOR if options.rehearse else 1


def _section(name: str, seconds: float, has_gpu: bool, scratch: Path, options: argparse.Namespace) -> Section:
    section = Section(name)
    began = time.monotonic()
    if not has_gpu and name not in _NEED_NO_GPU:
        section.add("skipped", "no CUDA device")
    elif seconds < _MIN_SECONDS:
        section.add("skipped", "no time left")
    elif name == "tests":
        _run_tests(section, seconds, scratch)
    else:
        quick = options.quick or options.rehearse or not has_gpu
        if quick and name in _QUICK_SECONDS:
            seconds = min(seconds, _slowness(options) * _QUICK_SECONDS[name])
        _run_child(section, seconds, scratch, options)
    section.seconds = time.monotonic() - began
    return section


def _run_child(section: Section, seconds: float, scratch: Path, options: argparse.Namespace) -> None:
    part, log = scratch / f"{section.name}.json", scratch / f"{section.name}.log"
    command = [sys.executable, "-X", "faulthandler", __file__, "--section", section.name, "--part", str(part)]
    command += ["--seconds", str(seconds), "--workers", str(options.workers)]
    command += ["--quick"] * options.quick + ["--rehearse"] * options.rehearse
    ended = _call(command, log, seconds + _GRACE)
    if part.exists():
        section.outcomes += json.loads(part.read_text(encoding="utf-8"))
    if ended is None:
        section.add("FAILED", f"stopped after {seconds + _GRACE:.0f} s")
    elif ended != 0:
        section.add("FAILED", f"its process ended with {ended}: {_last_line(log)}")


def _run_tests(section: Section, seconds: float, scratch: Path) -> None:
    if not _TESTS.is_dir():
        section.add("skipped", "there is no tests/gpu")
        return
    log = scratch / "tests.log"
    # A line a test, so that the log of a stopped run says what had been found.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", str(_TESTS), "-v", "-p", "no:cacheprovider"]
    ended = _call(command, log, seconds)
    text = log.read_text(encoding="utf-8", errors="replace")
    if ended is None:
        found = read_tests(text)
        status = "skipped" if seconds < SECTIONS["tests"] and not found.failed else "FAILED"
        section.add(status, f"stopped after {seconds:.0f} s: {found}")
        for name in found.failed:
            section.add("FAILED", name)
        return
    last = _last_line(log).strip("= ")
    status = {0: "passed", 5: "skipped"}.get(ended, "FAILED")  # 5: nothing was collected
    section.add("skipped" if status == "passed" and " passed" not in last else status, last)
    for line in text.splitlines() if status == "FAILED" else ():
        if line.startswith(("FAILED ", "ERROR ")):
            section.add("FAILED", line)


class FoundTests(NamedTuple):
    """Results of tests that a stopped run has left.

    Attributes:
        counts: number of tests by outcome.
        failed: names of those that failed.
        running: the test that was stopped.
    """

    counts: dict[str, int]
    failed: list[str]
    running: str | None

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {outcome.lower()}" for outcome, number in self.counts.items()) or "none finished"
        return f"{counted}; running: {self.running or 'none'}"


def read_tests(log: str) -> FoundTests:
    """Read the log of a `pytest -v` that may have been stopped at any point."""
    finished = re.findall(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*$", log, re.MULTILINE)
    lines = log.splitlines()
    last = lines[-1].strip() if lines else ""
    running = last if "::" in last and all(not last.startswith(f"{name} ") for name, _ in finished) else None
    failed = [name for name, outcome in finished if outcome in ("FAILED", "ERROR")]
    return FoundTests(dict(Counter(outcome for _, outcome in finished)), failed, running)


def _call(command: list[str], log: Path, seconds: float) -> int | None:
    """Run a process; return its exit code, or None if it had to be stopped."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as target:
        try:
            return subprocess.run(
                command, stdout=target, stderr=subprocess.STDOUT, timeout=seconds, check=False, env=environment
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")


def _says_cuda(section: Section) -> bool:
    """Read the facts; return True if they failed, so that the other sections report why."""
    found = [one["data"]["cuda"] for one in section.outcomes if "cuda" in one["data"]]
    return bool(found[0]) if found else True


def _save(sections: list[Section], scratch: Path, out: Path) -> None:
    """Write all results so far, in case this process is stopped."""
    found = [{"name": one.name, "seconds": one.seconds, "outcomes": one.outcomes} for one in sections]
    (out / "suite.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    logs = [scratch / f"{one.name}.log" for one in sections]
    texts = [f"== {log.stem}\n{log.read_text(encoding='utf-8', errors='replace')}" for log in logs if log.exists()]
    (out / "suite.log").write_text("\n".join(texts), encoding="utf-8")
    if (scratch / "rows.json").exists():
        shutil.copy(scratch / "rows.json", out / "table.json")


def _print_result(sections: list[Section], out: Path, seconds: float) -> None:
    """Print the lines of each section, then the most important results: table, targets and failures."""
    for section in sections:
        if section.name != "table":
            _print_section(section)
    if (out / "table.json").exists():
        _print_table(json.loads((out / "table.json").read_text(encoding="utf-8"))["rows"])
    for section in sections:
        if section.name == "table":
            _print_section(section)
    everything = [one for section in sections for one in section.outcomes]
    failed = [one["name"] for one in everything if one["status"] == "FAILED"]
    if failed:
        print(f"FAILED: {'; '.join(failed)}"[:_MAX_FAILED])
    statuses = [one["status"] for one in everything]
    sums = ", ".join(f"{statuses.count(status)} {status}" for status in ("passed", "FAILED", "skipped", "measured"))
    print(f"{sums}; {seconds:.0f} s; full numbers in {out}")


def _print_section(section: Section) -> None:
    passed = sum(one["status"] == "passed" for one in section.outcomes)
    print(f"== {section.name}: {passed} passed, {section.seconds:.0f} s")
    for one in section.outcomes:
        if one["status"] == "passed" and passed > _PASSED_SHOWN:
            continue
        mark = {"FAILED": "FAILED ", "skipped": "skipped ", "passed": "ok "}.get(one["status"], "")
        print(f"{mark}{one['name']}: {one['text']}"[: _LINE if mark in ("ok ", "skipped ") else 3 * _LINE])


def _print_table(rows: list[Found]) -> None:
    """Print a line for each method on the files of the largest images, and a line for each other case."""
    cases: dict[tuple[str, str, str], list[Found]] = {}
    for row in rows:
        if row["median_ms"] is not None:
            cases.setdefault((row["size"], row["start"], row["condition"]), []).append(row)
    first = next(iter(cases), None)
    for case, members in cases.items():
        print(f"-- {', '.join(case)}, {members[0]['batch']} at a time: median ms")
        if case != first:
            print("; ".join(f"{_brief(row['method'])} {row['median_ms']:.2f}" for row in members))
            continue
        for row in members:
            quality = "equal" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB max {row['max_levels']}"
            memory = "" if row["peak_mb"] is None else f", {row['peak_mb']:.0f} MB"
            times = f"{row['median_ms']:.2f}, p90 {row['p90_ms']:.2f}, {row['speed_up']:.2f} times faster"
            print(f"{row['method']}: {times}, {quality}{memory}, {row['runs']} runs {row['took']}")


def _brief(method: str) -> str:
    """Shorten the name of one of our methods; names of others have a capital letter or a plus."""
    return method.removeprefix("ours: ").replace("gpu_decode ", "")


if __name__ == "__main__":
    main()
