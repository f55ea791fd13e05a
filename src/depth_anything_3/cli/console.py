"""Print results of `da3` to stdout, and its progress and messages to stderr."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from depth_anything_3.cli.messages import flags_of, in_flags

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
    "escape_message",
    "finish",
    "load_model",
    "progress",
    "stderr",
    "stdout",
]

EXIT_FAILURES = 1
EXIT_MISUSE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
stdout = Console(highlight=False, emoji=False, soft_wrap=True)


def escape_message(message: str, flags: Mapping[str, str | None] | None = None) -> str:
    """Make a message safe for `Console.print`: one line, without markup and control characters.

    Args:
        message: any text.
        flags: replace Python arguments by these flags; see `in_flags`.
    """
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)
    return escape(in_flags(plain, flags or {}))


def load_model(flags: ModelFlags) -> DepthAnything3:
    """Load a checkpoint, and report a licence that forbids commercial use."""
    with stderr.status(f"loading {escape(flags.model_dir)}"):
        from depth_anything_3.api import DepthAnything3
        from depth_anything_3.runtime.devices import parse_dtype

        model = DepthAnything3.from_pretrained(flags.model_dir, flags.device, parse_dtype(flags.dtype))
    if "-NC-" in model.card.licence:
        stderr.print(f"{model.model_name}: licence {model.card.licence}, no commercial use", markup=False)
    if flags.compiled:
        model.compile()
    return model


class ProgressBar:
    """A progress bar with count, rate and remaining time, drawn on terminals only; call it once for each item."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._done, self._started = 0, 0.0

    def begin(self, description: str, total: int | None, done: int = 0) -> None:
        """Set what is counted, the total (None: unknown), and how many are done already."""
        self._bar.update(self._task, description=description, total=total, completed=done)

    def __call__(self) -> None:
        """Count one more item."""
        self._done += 1
        self._started = self._started or time.monotonic()  # at the first item: excludes loading
        rate = (self._done - 1) / max(time.monotonic() - self._started, 1e-3)
        self._bar.update(self._task, advance=1, rate=f"{rate:.1f}/s")


@contextmanager
def progress(total: int | None, description: str = "images") -> Iterator[ProgressBar]:
    """Show a progress bar while the block runs."""
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


def finish(command: Callable[..., None], report: RunReport, as_json: bool) -> None:
    """Print the report of a command's run; exit with code 1 if an image failed."""
    flags = flags_of([command]) if report.failures else {}
    for failure in report.failures:
        stderr.print(f"[red]failed:[/] {escape_message(failure['error'], flags)}")
    if as_json:
        stdout.print_json(json.dumps(report.as_dict()))
    else:
        skipped = f", {report.skipped} already done" if report.skipped else ""
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
            counts = {name: sum(reasons.values()) for name, reasons in report.strategies.items()}
            stdout.print(f"strategy: {', '.join(f'{name} {count}' for name, count in counts.items())}")
        if report.focal_lengths:
            origins = ", ".join(f"{origin} {count}" for origin, count in report.focal_lengths.items())
            stdout.print(f"focal length for metric depth: {origins}", markup=False)
    if report.failures:
        raise typer.Exit(EXIT_FAILURES)


class LogHandler(logging.Handler):
    """Prints log records without breaking the progress bar.

    Args:
        level: minimum level.
        flags: replace Python arguments by these flags in messages.
    """

    def __init__(self, level: int, flags: Mapping[str, str | None]) -> None:
        super().__init__(level)
        self._flags = flags

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        stderr.print(f"[yellow]{record.levelname.lower()}[/] {escape_message(record.getMessage(), self._flags)}")
