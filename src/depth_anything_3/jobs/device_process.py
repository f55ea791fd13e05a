"""Compute a shard of images in a process of its own, on one device, and report to the process that started it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from depth_anything_3.errors import DA3Error
from depth_anything_3.runtime.child_processes import LogSender, portable_error

if TYPE_CHECKING:  # the process sets its cores before it imports torch
    from depth_anything_3.inference.engine import Engine
    from depth_anything_3.jobs.image_job import ImageJob
    from depth_anything_3.model.catalog import ModelCard

__all__ = ["Ended", "Loaded", "Parent", "Progress", "Work", "compute", "compute_shard"]

_PACKAGE = "depth_anything_3"


@dataclass(frozen=True)
class Work:
    """What a process computes.

    Attributes:
        job: with the shard of the device.
        load: returns the network on a device.
        device: name of the device.
        report_file: temporary file for the report of the shard.
        log_level: minimum level of log records that are sent.
    """

    job: ImageJob
    load: Callable[[str], Engine]
    device: str
    report_file: Path
    log_level: int


@dataclass(frozen=True)
class Loaded:
    """Message: the network is loaded."""

    card: ModelCard


@dataclass(frozen=True)
class Progress:
    """Message: one more image is done, and the shard has had so many failures."""

    failed: int


@dataclass(frozen=True)
class Ended:
    """Message: the process ends in an orderly way; the error that ended its run, if there was one."""

    error: BaseException | None


class Parent:
    """Sends messages to the process that started this one, and stops this one when it says so or is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, message: object) -> None:
        """Send a message; it is lost if nobody is there."""
        with self._lock, suppress(OSError):
            self._connection.send(message)

    def obey(self) -> None:
        """Stop the main thread as SIGTERM does when any message arrives, or the other end is closed."""
        with suppress(EOFError, OSError):
            self._connection.recv()
        if hasattr(signal, "pthread_kill"):  # also ends a wait of the main thread
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            signal.raise_signal(signal.SIGTERM)


def compute_shard(connection: Connection, cores: Sequence[int]) -> None:
    """Receive a `Work`, compute it, and send messages; the last one is `Ended`.

    Ctrl-C is left to the process that started this one, which sends a message to stop it.

    Args:
        connection: to that process.
        cores: cores to run on, of systems that number them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    parent = Parent(connection)
    error: BaseException | None = None
    try:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        work: Work = connection.recv()
        threading.Thread(target=parent.obey, name="da3-parent", daemon=True).start()
        package = logging.getLogger(_PACKAGE)
        package.addHandler(LogSender(work.log_level, parent.send))
        package.setLevel(work.log_level)
        compute(work, parent)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except BaseException as ended_by:  # Ctrl-C and SIGTERM too; the other process raises it
        error = ended_by
    parent.send(Ended(None if error is None else portable_error(error)))
    connection.close()
    if error is not None and not isinstance(error, (DA3Error, KeyboardInterrupt)):
        raise error  # a fault of this program: its traceback is printed


def compute(work: Work, parent: Parent) -> None:
    """Load the network, and compute; send messages on the way.

    Raises:
        DA3Error: see `run_images`.
    """
    engine = work.load(work.device)
    parent.send(Loaded(engine.card))
    work.job.compute(
        engine,
        report_file=work.report_file,
        on_progress=lambda failed=0: parent.send(Progress(failed)),
    )


def _stop(_number: int, _frame: Any) -> NoReturn:  # Any: Python's frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: results are being written
    raise KeyboardInterrupt("SIGTERM")
