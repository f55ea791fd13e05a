"""Run functions in processes of this machine, one for each device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from depth_anything_3.errors import DeviceError, InvalidInputError
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

    def describe(self, workers: Workers) -> str:
        """Name the devices."""
        return ", ".join(one.label for one in self._starts)

    def call(self, work: Callable[[], Result], workers: Workers) -> Result:
        """Call a function in a process of the first device; see `Pool.call`."""
        (result,) = self._run(partial(_ignoring_item, work), [None], self._starts[:1])
        return result

    def shared(self, value: Result) -> Callable[[], Result]:
        """Return what returns the value; it is pickled with it."""
        return partial(_same, value)

    def map(
        self, make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: Workers
    ) -> Iterator[Result]:
        """Call, for each item, what `make` returns in each process; see `Pool.map`."""
        return self._run(make, items, self._starts)

    def _run(
        self, make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], starts: Sequence[_Start]
    ) -> Iterator[Result]:
        waiting, logged = deque(enumerate(items)), set[LogLine]()
        processes: list[_Process] = []
        try:
            for start in starts[: len(waiting)]:
                processes.append(_Process.started(start, make))
            while waiting or any(one.busy for one in processes):
                alive = [one for one in processes if not one.fault]
                if not alive:
                    raise DeviceError("; ".join(f"{one.label}: {one.fault}" for one in processes))
                for at_once in range(1, _AT_ONCE + 1):  # each gets one before any gets two
                    for one in alive:
                        if waiting and len(one.busy) < at_once:
                            one.give(*waiting.popleft())
                by_connection = {one.connection: one for one in alive}
                for connection in wait(list(by_connection)):
                    process = by_connection[connection]  # type: ignore[index]
                    message = process.receive()
                    if message is None:
                        logger.warning("%s: %s; the others continue", process.label, process.fault)
                        waiting.extendleft(process.busy.items())
                        process.busy.clear()
                    elif isinstance(message, LogLine):
                        if message not in logged or message.level < logging.WARNING:  # warn once, not once a process
                            logged.add(message)
                            logger.log(message.level, "%s: %s", process.label, message.text)
                    elif message.error is not None:
                        raise message.error
                    else:
                        del process.busy[message.number]
                        yield message.result
        finally:
            for one in processes:
                one.end()


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
    def started(cls, start: _Start, make: Callable[[], Callable[[Any], Any]]) -> _Process:
        """Start a process."""
        context = multiprocessing.get_context("spawn")  # CUDA does not work after a fork
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, start), name=f"da3-{start.label}")
        with ctrl_c_ignored():
            process.start()
        there.close()
        started = cls(start.label, process, here)
        started._send(make)
        return started

    def give(self, number: int, item: object) -> None:
        """Let it compute an item."""
        self.busy[number] = item
        self._send((number, item))

    def _send(self, message: object) -> None:
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
            self.end()
            return None
        return message

    def end(self) -> None:
        """End it, and what it works on."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, start: _Start) -> None:
    """Receive what makes a callable, and items; send results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    os.environ.update(start.environment)
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
            send(_Done(number, error=portable_error(error)))

    try:
        package = logging.getLogger(_PACKAGE)
        package.addHandler(LogSender(start.log_level, send))
        package.setLevel(start.log_level)
        call = connection.recv()()
    except BaseException as error:
        send(_Done(-1, error=portable_error(error)))
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while True:
            try:
                number, item = connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # what it works on is of no use: nobody is there
            threads.submit(compute, call, number, item)


def _label(devices: Sequence[str], index: int) -> str:
    device = devices[index]
    return device if devices.count(device) == 1 else f"{device} (process {index})"


def _environment(device: str) -> dict[str, str]:
    """Return the variables with which a process sees its own GPU alone."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return {}
    visible = [one.strip() for one in os.environ.get(_VISIBLE, "").split(",") if one.strip()]
    index = int(number or 0)
    if not visible:
        return {_VISIBLE: str(index)}
    if index >= len(visible):
        raise InvalidInputError(f"device={device!r}: {_VISIBLE} names {len(visible)} GPUs")
    return {_VISIBLE: visible[index]}


def _ignoring_item(work: Callable[[], Result]) -> Callable[[None], Result]:
    return lambda _item: work()


def _same(value: Result) -> Result:
    return value
