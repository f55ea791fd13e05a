"""Run functions in processes of this machine, one for each device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from depth_anything_3.errors import DA3Error, DeviceError, InvalidInputError
from depth_anything_3.runtime.child_processes import (
    LogLine,
    LogSender,
    core_shares,
    ctrl_c_ignored,
    exit_text,
    portable_error,
)
from depth_anything_3.runtime.pool import Workers

__all__ = ["DevicePool"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Item = TypeVar("Item")

_PACKAGE = "depth_anything_3"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_AT_ONCE = 2  # items of a process
_END_SECONDS = 30.0


@dataclass(frozen=True)
class _Start:
    """How a process starts: its label in messages, cores, environment and level of the log."""

    label: str
    cores: tuple[int, ...]
    environment: dict[str, str]
    log_level: int


@dataclass(frozen=True)
class _Done:
    """Message: the result of an item, or its error; or with number -1 why the process cannot begin."""

    number: int
    result: Any = None  # Any: of any type
    error: BaseException | None = None


class DevicePool:
    """Processes of this machine, one for each device; a `Pool`.

    A process sees its own GPU alone, as "cuda". It ends when this one does, and when it is killed the others take over.

    Args:
        devices: names: "cpu", "mps", "cuda" or "cuda:1"; one that is named twice gets two processes.

    Attributes:
        device: name of the device in each process.
        workers: the processes.

    Raises:
        InvalidInputError: devices are of several kinds, whose results would differ.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        kinds = sorted({one.partition(":")[0] for one in devices})
        if len(kinds) > 1:
            raise InvalidInputError(
                f"devices={','.join(devices)!r}: results of {' and '.join(kinds)} would differ; name devices of one "
                "kind"
            )
        (self.device,) = kinds
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        shares = core_shares(len(devices))
        self._starts = [
            _Start(_label(devices, index), cores, _environment(device), level)
            for index, (device, cores) in enumerate(zip(devices, shares, strict=True))
        ]
        cores = min(map(len, shares)) or max(1, (os.cpu_count() or 1) // len(devices))
        self.workers = Workers(len(devices), len(devices), float(cores), float(self.device == "cuda"))
        self._logged: set[LogLine] = set()

    def describe(self, workers: Workers) -> str:
        """Name the devices."""
        return ", ".join(one.label for one in self._starts)

    def call(self, work: Callable[[], Result], workers: Workers) -> Result:
        """Call a function in a process of the first device, or if that is lost of the next; see `Pool.call`."""
        (result,) = self.map(partial(_ignoring_item, work), [None], workers)
        return result

    def shared(self, value: Result) -> Callable[[], Result]:
        """Return what returns the value; it is pickled with it."""
        return partial(_same, value)

    def map(
        self, make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: Workers
    ) -> Iterator[Result]:
        """Call, for each item, what `make` returns in each process; see `Pool.map`.

        Processes that have nothing to do are not started.
        """
        waiting, unused = deque(enumerate(items)), deque(self._starts)
        running, lost = list[_Process](), list[_Process]()
        needed = min(len(waiting), len(unused))
        # Processes that are killed do not remove their temporary files.
        with tempfile.TemporaryDirectory(prefix="da3-devices-", ignore_cleanup_errors=True) as temporary:
            try:
                while waiting or any(one.busy for one in running):
                    while unused and len(running) < needed:
                        running.append(_Process.started(unused.popleft(), make, temporary))
                    if not running:
                        raise DeviceError("; ".join(sorted(f"{one.label}: {one.fault}" for one in lost)))
                    _give(waiting, running)
                    for process in _with_message(running):
                        message = process.receive()
                        if message is None:
                            running.remove(process)
                            lost.append(process)
                            waiting.extendleft(process.busy.items())
                            others = "; the others continue" if running or unused else ""
                            logger.warning("%s: %s%s", process.label, process.fault, others)
                        elif isinstance(message, LogLine):
                            self._log(process.label, message)
                        elif message.error is not None:
                            raise message.error
                        else:
                            del process.busy[message.number]
                            yield message.result
                for one in running:
                    one.send(None)
                for one in running:
                    one.process.join(_END_SECONDS)
            finally:
                for one in running:
                    one.kill()

    def _log(self, label: str, line: LogLine) -> None:
        if line not in self._logged or line.level < logging.WARNING:  # warn once, not once a process
            self._logged.add(line)
            logger.log(line.level, "%s: %s", label, line.text)


def _give(waiting: deque[tuple[int, Any]], processes: Sequence[_Process]) -> None:
    """Hand out items: each process gets one before any gets two."""
    for at_once in range(1, _AT_ONCE + 1):
        for one in processes:
            if waiting and len(one.busy) < at_once:
                one.give(*waiting.popleft())


def _with_message(processes: Sequence[_Process]) -> list[_Process]:
    """Wait for a message; return the processes that have one."""
    ready = wait([one.connection for one in processes])
    return [one for one in processes if one.connection in ready]


@dataclass
class _Process:
    """A process of a device.

    Attributes:
        busy: the items that it works on, by their numbers.
        fault: why it is lost; empty: it is not.
    """

    label: str
    process: BaseProcess
    connection: Connection
    busy: dict[int, Any] = field(default_factory=dict)  # Any: items of any type
    fault: str = ""

    @classmethod
    def started(cls, start: _Start, make: Callable[[], Callable[[Any], Any]], temporary: str) -> _Process:
        """Start a process whose temporary files are in a folder."""
        context = multiprocessing.get_context("spawn")  # CUDA does not work after a fork
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, start, temporary), name=f"da3-{start.label}")
        with ctrl_c_ignored():
            process.start()
        there.close()
        started = cls(start.label, process, here)
        started.send(make)
        return started

    def give(self, number: int, item: object) -> None:
        """Let it compute an item."""
        self.busy[number] = item
        self.send((number, item))

    def send(self, message: object) -> None:
        """Send `make`, an item, or None, which lets it end with what it has started."""
        with suppress(OSError):  # that it is lost is noticed when it is received from
            self.connection.send(message)

    def receive(self) -> _Done | LogLine | None:
        """Return its next message; None: it was killed, or its GPU failed."""
        try:
            message: _Done | LogLine = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.fault = f"its process was killed ({exit_text(self.process.exitcode)})"
            return None
        if isinstance(message, _Done) and isinstance(message.error, DeviceError):
            self.fault = str(message.error)
            self.kill()
            return None
        return message

    def kill(self) -> None:
        """End it, and what it works on."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, start: _Start, temporary: str) -> None:
    """Receive what makes a callable, and items; send results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    signal.signal(signal.SIGTERM, lambda *_: _exit_at_once())
    os.environ.update(start.environment)
    tempfile.tempdir = temporary
    if start.cores:
        os.sched_setaffinity(0, start.cores)
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock, suppress(OSError):
            connection.send(message)

    def compute(call: Callable[[Any], Any], number: int, item: object) -> None:
        try:
            send(_Done(number, call(item)))
        except BaseException as error:
            send(_failed(number, error))

    package = logging.getLogger(_PACKAGE)
    package.addHandler(LogSender(start.log_level, send))
    package.setLevel(start.log_level)
    try:
        call = connection.recv()()
    except BaseException as error:
        is_bare = isinstance(error, DA3Error) and not isinstance(error, DeviceError)  # without the device's name
        send(_failed(-1, type(error)(f"{start.label}: {error}") if is_bare else error))
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            while (message := connection.recv()) is not None:
                threads.submit(compute, call, *message)
        except (EOFError, OSError):  # nobody is there: what it works on is of no use
            _exit_at_once()


def _failed(number: int, error: BaseException) -> _Done:
    """Make the message of an error; print the traceback of a fault of this program."""
    if not isinstance(error, DA3Error):
        traceback.print_exception(error)
    return _Done(number, error=portable_error(error))


def _exit_at_once() -> None:
    """End this process, and those that it has started, without waiting for its threads."""
    for one in multiprocessing.active_children():
        one.kill()
    os._exit(1)


def _label(devices: Sequence[str], index: int) -> str:
    device = devices[index]
    return device if devices.count(device) == 1 else f"{device} (process {index})"


def _environment(device: str) -> dict[str, str]:
    """Return the variables with which a process sees its own GPU alone."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return {}
    index, given = int(number or 0), os.environ.get(_VISIBLE)
    if given is None:
        return {_VISIBLE: str(index)}
    visible = [one.strip() for one in given.split(",") if one.strip()]
    if index >= len(visible):
        raise InvalidInputError(f"device={device!r}: {_VISIBLE}={given!r} shows {len(visible)} GPUs")
    return {_VISIBLE: visible[index]}


def _ignoring_item(work: Callable[[], Result]) -> Callable[[None], Result]:
    return lambda _item: work()


def _same(value: Result) -> Result:
    return value
