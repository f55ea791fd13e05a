"""What the commands of `da3` share: results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from depth_anything_3.cli.messages import in_flags

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.cli.options import ModelFlags
    from depth_anything_3.jobs.report import RunReport

__all__ = [
    "EXIT_FAILURES",
    "EXIT_INTERRUPTED",
    "EXIT_MISUSE",
    "EXIT_TERMINATED",
    "LogHandler",
    "ProgressBar",
    "finish",
    "load_model",
    "progress",
    "stderr",
    "stdout",
    "told",
]

EXIT_FAILURES = 1
EXIT_MISUSE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
stdout = Console(highlight=False, emoji=False, soft_wrap=True)


def told(message: str) -> str:
    """A message in one line for `Console.print`: it names options, and no file's name can do anything to a terminal."""
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)
    return escape(in_flags(plain))


def load_model(flags: ModelFlags) -> DepthAnything3:
    """Load a checkpoint; reports a licence that forbids commercial use."""
    with stderr.status(f"loading {escape(flags.model_dir)}"):
        from depth_anything_3.api import DepthAnything3

        dtype = None if flags.dtype == "auto" else flags.dtype
        model = DepthAnything3.from_pretrained(flags.model_dir, flags.device, dtype)
    if "-NC-" in model.card.licence:
        stderr.print(f"{model.model_name}: licence {model.card.licence}, not for commercial use", markup=False)
    if flags.compiled:
        model.compile()
    return model


class ProgressBar:
    """A bar with the count, the rate and the time left; call it once for each item. Nothing is drawn off a terminal."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._done, self._started = 0, 0.0

    def begin(self, description: str, total: int | None, done: int = 0) -> None:
        """Set what is counted, how many there are (None: unknown), and how many earlier runs have done."""
        self._bar.update(self._task, description=description, total=total, completed=done)

    def __call__(self) -> None:
        """Count one more item."""
        self._done += 1
        self._started = self._started or time.monotonic()  # at the first item: excludes loading
        rate = (self._done - 1) / max(time.monotonic() - self._started, 1e-3)
        self._bar.update(self._task, advance=1, rate=f"{rate:.1f}/s")


@contextmanager
def progress(total: int | None, description: str = "images") -> Iterator[ProgressBar]:
    """Show a bar on a terminal while the block runs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        yield ProgressBar(bar, bar.add_task(description, total=total, rate=""))


def finish(report: RunReport, as_json: bool) -> None:
    """Print how it went; leave with exit code 1 if any image failed."""
    for failure in report.failures:
        stderr.print(f"[red]failed[/] {told(failure['error'])}")
    if as_json:
        stdout.print_json(json.dumps(report.as_dict()))
    else:
        skipped = f", {report.skipped} there already" if report.skipped else ""
        failed = f", {len(report.failures)} failed" if report.failures else ""
        written = f"; written to {report.export_dir}" if report.images else ""
        stdout.print(
            f"{report.images} image(s) in {report.wall_seconds:.2f} s ({report.images_per_second:.2f} images/s) "
            f"on {report.device}{skipped}{failed}{written}",
            markup=False,
        )
        if report.images:
            stages = report.stage_seconds.items()
            each = " | ".join(f"{stage} {1e3 * seconds / report.images:.1f}" for stage, seconds in stages)
            stdout.print(f"ms per image: {each}")
            ways = ((way, sum(reasons.values())) for way, reasons in report.strategies.items())
            stdout.print(f"strategy: {', '.join(f'{way} {count}' for way, count in ways)}")
        if report.focal_lengths:
            origins = ", ".join(f"{origin} {count}" for origin, count in report.focal_lengths.items())
            stdout.print(f"metres by focal length from: {origins}", markup=False)
    if report.failures:
        raise typer.Exit(EXIT_FAILURES)


class LogHandler(logging.Handler):
    """Prints this package's log beside the progress bar, not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        stderr.print(f"[yellow]{record.levelname.lower()}[/] {told(record.getMessage())}")
