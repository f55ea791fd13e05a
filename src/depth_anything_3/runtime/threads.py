"""A thread pool whose threads outlive a run, and the number of usable cores."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from depth_anything_3.runtime.control_groups import control_groups

__all__ = ["ThreadPool", "usable_cores"]

_AT_WORK, _IDLE = "da3-prefetch", "da3-idle"  # the threads' names

_Task = tuple[Callable[[], None], threading.Event]


class ThreadPool:
    """Runs work in an idle thread, or a new one; idle threads end with `close()`, or when the pool is collected.

    Reuse keeps memory constant: a new thread for each run would get another malloc arena and another OpenMP team, and
    each arena holds on to the memory that the network once used in it.
    """

    def __init__(self) -> None:
        self._idle: deque[tuple[threading.Thread, SimpleQueue[_Task | None]]] = deque()
        weakref.finalize(self, _end, self._idle)

    def start(self, work: Callable[[], None]) -> threading.Event:
        """Run `work`, which must not raise, in a thread; the event is set when the thread is idle again."""
        done = threading.Event()
        inbox = self._idle_inbox()
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=_serve, args=(inbox, weakref.ref(self)), name=_IDLE, daemon=True).start()
        inbox.put((work, done))
        return done

    def close(self) -> None:
        """End the idle threads; busy ones finish their work and become idle."""
        _end(self._idle)

    def __reduce__(self) -> tuple[type[ThreadPool], tuple[()]]:
        return ThreadPool, ()  # pickle and copy create an empty pool

    def _idle_inbox(self) -> SimpleQueue[_Task | None] | None:
        while self._idle:
            try:
                thread, inbox = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if thread.is_alive():  # not in the child of a fork
                return inbox
        return None


def _serve(inbox: SimpleQueue[_Task | None], owner: weakref.ref[ThreadPool]) -> None:
    thread = threading.current_thread()
    while (task := inbox.get()) is not None:
        work, done = task
        thread.name = _AT_WORK
        work()
        thread.name = _IDLE
        del task, work  # or the objects it refers to would live until the next task
        pool = owner()
        if pool is not None:
            pool._idle.append((thread, inbox))
        done.set()
        if pool is None:
            return
        del pool, done


def _end(idle: deque[tuple[threading.Thread, SimpleQueue[_Task | None]]]) -> None:
    while idle:
        try:
            _, inbox = idle.pop()
        except IndexError:
            break
        inbox.put(None)


def usable_cores() -> int:
    """Return the number of cores that this process may use: those it may run on, or fewer under a quota.

    On a cluster the first can be fewer than the machine has. Containers mostly limit time instead: a quota of 2.5 cores
    counts as 3.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas())]))


def _quotas() -> list[float]:
    """Return the quotas, in cores, of this process's control group and of those above it."""
    return [quota for folder in control_groups("cpu") if (quota := _quota(folder)) is not None]


def _quota(folder: Path) -> float | None:
    """Return the quota of a control group in cores, or None if it has none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text("utf-8").split()  # "max 100000": no limit
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period"))
        cores = float(quota) / float(period)  # version 1: -1 is no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
