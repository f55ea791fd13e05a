"""Stand-ins for the processes of devices: threads of this process, with real connections between them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from depth_anything_3.errors import DA3Error, DeviceError
from depth_anything_3.jobs import device_process

__all__ = ["ThreadContext", "load", "use_engine"]

_engines = []


def use_engine(engine) -> None:
    """Let `load` return this engine."""
    _engines[:] = [engine]


def load(device: str):
    """Return the engine, as a process that loads the network; two devices fail."""
    if device == "mps":
        raise DA3Error("no such device")
    if device == "cuda:0":
        raise DeviceError("the GPU is gone")
    return _engines[0]


class ThreadContext:
    """A context of multiprocessing whose processes are threads, which compute one after another.

    Args:
        killed: whether the process of this number is killed before it begins.
    """

    def __init__(self, killed: Callable[[int], bool] = lambda number: False) -> None:
        self._killed, self._count, self._turn = killed, 0, threading.Lock()

    def Pipe(self):
        return multiprocessing.Pipe()

    def Process(self, target, args, name):
        assert target is device_process.compute_shard
        self._count += 1
        return _Thread(args[0], self._killed(self._count - 1), self._turn)


class _Thread:
    def __init__(self, connection, killed: bool, turn: threading.Lock) -> None:
        # A duplicate, as a process has: the one of the parent is closed.
        self._connection = multiprocessing.connection.Connection(os.dup(connection.fileno()))
        self._thread = threading.Thread(target=self._run, args=(killed, turn))
        self.exitcode: int | None = None
        self.start, self.join = self._thread.start, self._thread.join

    def _run(self, killed: bool, turn: threading.Lock) -> None:
        try:
            work = self._connection.recv()
            if killed:
                self.exitcode = -signal.SIGKILL
                return
            error = None
            with turn:
                try:
                    device_process.compute(work, device_process.Parent(self._connection))
                except DA3Error as raised:
                    error = raised
            with suppress(OSError):
                self._connection.send(device_process.Ended(error))
            self.exitcode = 0
        finally:
            self._connection.close()  # else the other end would wait forever
