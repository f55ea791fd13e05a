"""What this process and those that it starts agree on: cores, signals, and messages about log records and errors."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from depth_anything_3.errors import DA3Error

__all__ = ["LogLine", "LogSender", "core_shares", "ctrl_c_ignored", "exit_text", "portable_error"]


def core_shares(count: int) -> list[tuple[int, ...]]:
    """Divide the cores of this process into equal shares of neighbours; empty where cores have no numbers."""
    if not hasattr(os, "sched_getaffinity"):
        return [()] * count
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
        return [(cores[index % len(cores)],) for index in range(count)]
    return [tuple(cores[len(cores) * index // count : len(cores) * (index + 1) // count]) for index in range(count)]


@contextmanager
def ctrl_c_ignored() -> Iterator[None]:
    """Within the block, ignore Ctrl-C, which a process that is started there inherits."""
    if threading.current_thread() is not threading.main_thread():  # it cannot set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_text(code: int | None) -> str:
    """Say how a process ended."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}; see the system's log if memory ran out" if name == "SIGKILL" else name


@dataclass(frozen=True)
class LogLine:
    """Message: a record of the package's log."""

    level: int
    text: str


class LogSender(logging.Handler):
    """Sends log records.

    Args:
        level: minimum level of the records.
        send: sends a message.
    """

    def __init__(self, level: int, send: Callable[[object], None]) -> None:
        super().__init__(level)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._send(LogLine(record.levelno, record.getMessage()))


def portable_error(error: BaseException) -> BaseException:
    """Return an error that another process can receive."""
    if isinstance(error, (DA3Error, KeyboardInterrupt)):
        # Errors with several arguments may not be picklable.
        return type(error)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
