"""What runs functions in several processes: a cluster, or the devices of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

__all__ = ["Pool", "Workers"]

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """Processes of a pool.

    Attributes:
        least, most: number of processes. Ray starts more as long as work waits; a lost one is replaced, or the others
            go on. A pool of fixed size waits for ever when a node is lost.
        cpus, gpus: of each.
    """

    least: int
    most: int
    cpus: float
    gpus: float


class Pool(Protocol):
    """Runs functions in processes. What it is given, and what they return, is pickled."""

    def describe(self, workers: Workers) -> str:
        """Say what computes, for reports."""
        ...

    def call(self, work: Callable[[], Result], workers: Workers) -> Result:
        """Call a function in a process with the CPUs and GPUs of one of the workers.

        Raises:
            DA3Error: that of the function.
            DeviceError: the process cannot be started, or died.
        """
        ...

    def shared(self, value: Result) -> Callable[[], Result]:
        """Put a value where all processes can read it, as long as this one lives; return what reads it there."""
        ...

    def map(
        self, make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: Workers
    ) -> Iterator[Result]:
        """Call, for each item, what `make` returns in each process; yield the results as they come.

        Each process works on two items at once, in threads. An item whose process is lost is computed anew.

        Args:
            make: makes the callable, in each process.
            items: they should be small.
            workers: the processes.

        Raises:
            DA3Error: that of an item or of `make`.
            DeviceError: all processes are lost, or the pool came to a standstill.
        """
        ...
