"""Show how far a run is: a bar on a terminal, a line now and then elsewhere, and a last line if it is stopped."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from depth_anything_3.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressBar", "RunStopped", "progress", "stop_line"]

LINE_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""

_RATE_ITEMS = 50
"""The rate is that of the last items: those that a resumed run skips take no time."""


class RunStopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM while items were counted.

    Attributes:
        done: items that are done, those of earlier runs included.
        total: items of the run; None if unknown.
        unit: what is counted, in the plural.
        resumable: whether the command can continue with --resume.
    """

    def __init__(self, reason: str, *, done: int, total: int | None, unit: str, resumable: bool) -> None:
        super().__init__(reason)
        self.done, self.total, self.unit, self.resumable = done, total, unit, resumable


class ProgressBar:
    """Progress with count, failures, rate and remaining time; call it once for each item."""

    def __init__(self, bar: Progress, task: TaskID, unit: str, total: int | None) -> None:
        self.unit, self.total, self.done = unit, total, 0
        self._bar, self._task = bar, task
        self._printed = time.monotonic()
        self._times: deque[float] = deque(maxlen=_RATE_ITEMS + 1)  # the first is at an item: excludes loading

    def begin(self, unit: str, total: int | None, done: int = 0) -> None:
        """Set what is counted, the total (None: unknown), and how many are done already."""
        self.unit, self.total, self.done = unit, total, done
        self._bar.update(self._task, description=unit, total=total, completed=done)

    def __call__(self, failed: int = 0, /) -> None:
        """Count one more item.

        Args:
            failed: the failures so far.
        """
        now = time.monotonic()
        self.done += 1
        self._times.append(now)
        rate = (len(self._times) - 1) / max(now - self._times[0], 1e-3)
        failures = f", {failed:,} failed" if failed else ""
        if not self._bar.disable:
            self._bar.update(self._task, advance=1, rate=f"{rate:.1f} {self.unit}/s{failures}")
        elif now - self._printed >= LINE_SECONDS:
            self._printed = now
            console.stderr.print(f"{_count(self)}, {rate:.1f} {self.unit}/s{_time_left(self, rate)}{failures}")


@contextmanager
def progress(total: int | None, unit: str = "images", *, resumable: bool = False) -> Iterator[ProgressBar]:
    """Show progress while the block runs.

    Args:
        total: number of items; None if unknown.
        unit: what is counted, in the plural.
        resumable: whether the command can continue with --resume when it is stopped.

    Raises:
        RunStopped: instead of the KeyboardInterrupt of the block.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    drawn = console.stderr.is_terminal and not console.stderr.quiet
    with Progress(*columns, console=console.stderr, transient=True, disable=not drawn) as bar:
        shown = ProgressBar(bar, bar.add_task(unit, total=total, rate=""), unit, total)
        try:
            yield shown
        except KeyboardInterrupt as stop:
            raise RunStopped(
                str(stop), done=shown.done, total=shown.total, unit=shown.unit, resumable=resumable
            ) from stop


def stop_line(stop: BaseException | None, arguments: Sequence[str]) -> str:
    """Make the last line of a command that was stopped.

    Args:
        stop: the error that ended it; its causes are searched for `RunStopped`.
        arguments: the arguments of the command.
    """
    while stop is not None and not isinstance(stop, RunStopped):
        stop = stop.__cause__ or stop.__context__
    if stop is None:
        return "stopped; the files written so far are complete"
    if not stop.done and stop.total is None and stop.resumable:  # what is counted may have come late
        return f"Stopped; results so far are complete. Continue with: {_resuming(arguments)}"
    if not stop.done:
        return "Stopped before the first result."
    line = f"Stopped after {_count(stop)}"
    if stop.unit == "images":
        line += "; results so far are complete"
    return f"{line}. Continue with: {_resuming(arguments)}" if stop.resumable else f"{line}."


def _resuming(arguments: Sequence[str]) -> str:
    """Make the command line that continues."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [one for one in arguments[:end] if one != "--auto-cleanup"]  # it would remove what there is
    if not {"--resume", "--skip-existing"} & {*flags}:
        flags.append("--resume")
    return shlex.join(["da3", *flags, *arguments[end:]])


def _count(counted: ProgressBar | RunStopped) -> str:
    total = "" if counted.total is None else f" of {counted.total:,}"
    return f"{counted.done:,}{total} {counted.unit}"


def _time_left(bar: ProgressBar, rate: float) -> str:
    if bar.total is None or not rate:
        return ""
    seconds = max(bar.total - bar.done, 0) / rate
    if seconds < 90:
        return f", {seconds:.0f} s left"
    return f", {seconds / 60:.0f} min left" if seconds < 5400 else f", {seconds / 3600:.1f} h left"
