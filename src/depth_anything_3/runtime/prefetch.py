"""Process the next items in the background while the caller uses the current one, bounded and in order."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import closing
from itertools import islice
from typing import TypeVar

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.runtime.threads import ThreadPool

__all__ = ["in_background", "ordered_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    executor: Executor,
    work: Callable[[int, Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    renew: Callable[[], Executor] | None = None,
    lost: Callable[[int, Item], Result] | None = None,
) -> Iterator[Result]:
    """Yield `work(index, item)` for each item, in order, with at most `ahead` of them submitted at a time.

    Unlike `Executor.map` it consumes `items` only as results are taken, so a generator of a million paths costs
    nothing. Closing the iterator early cancels items that have not started.

    Args:
        executor: runs `work`.
        work: called with the index and the item.
        items: consumed as results are taken.
        ahead: maximum number of submitted items.
        renew: returns a new executor after a worker was killed. Pending items then restart, the first one alone.
        lost: called instead of `work` for an item whose worker was killed twice.

    Raises:
        Exception: any error of `work`, at that item's place in the order; any error of `items`, after the results of
            the items before it.
        UnsupportedError: the iteration began before a fork, and continues in the child.
    """
    process = os.getpid()
    numbered = enumerate(items)
    pending: deque[tuple[int, Item, Future[Result]]] = deque()
    ended: Exception | None = None

    def begin(index: int, item: Item) -> tuple[int, Item, Future[Result]]:
        try:
            return index, item, executor.submit(work, index, item)
        except BrokenExecutor as error:  # a worker was killed; raised when it is this item's turn
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return index, item, broken

    def refill() -> None:
        nonlocal ended
        if ended is not None:
            return
        try:
            pending.extend(begin(*one) for one in islice(numbered, ahead - len(pending)))
        except Exception as error:  # the caller's generator may raise anything
            ended = error

    try:
        refill()
        while pending:
            _check_process(process)
            index, item, future = pending.popleft()
            try:
                result = future.result()
            except BrokenExecutor:
                if renew is None or lost is None:
                    raise
                result, executor = _retry(renew, work, lost, index, item)
                pending = deque(begin(index, item) for index, item, _ in pending)
            refill()
            yield result
        if ended is not None:
            raise ended
    finally:
        if process == os.getpid():  # a worker may have held a future's lock at the fork
            for *_, future in pending:
                future.cancel()


def _check_process(process: int) -> None:
    if process != os.getpid():
        raise UnsupportedError(
            "this iteration began before a fork, so its threads do not exist in this process; begin it in the child"
        )


def _retry(
    renew: Callable[[], Executor],
    work: Callable[[int, Item], Result],
    lost: Callable[[int, Item], Result],
    index: int,
    item: Item,
) -> tuple[Result, Executor]:
    """Run an item whose worker was killed again; return its result and the executor for the next items."""
    executor = renew()
    try:
        return executor.submit(work, index, item).result(), executor
    except BrokenExecutor:
        return lost(index, item), renew()


def in_background(
    items: Generator[Item, None, None], *, ahead: int, threads: ThreadPool | None = None
) -> Generator[Item, None, None]:
    """Run a generator in a background thread, at most `ahead` items before they are taken, in order.

    Closing it, or the end of the process, closes the generator in its thread after the current item.

    Args:
        items: generator; must not be consumed elsewhere.
        ahead: maximum number of waiting items, 1 or more.
        threads: pool to take the thread from; None starts a new thread, which ends with the generator.

    Raises:
        Exception: any error of `items`, after the items before it.
        UnsupportedError: the iteration began before a fork, and continues in the child.
    """
    process = os.getpid()
    waiting: deque[Item] = deque()
    changed = threading.Condition()
    stopped = finished = False
    failure: BaseException | None = None
    worker = 0
    done: threading.Event | None = None

    def work() -> None:
        nonlocal finished, failure, worker
        worker = threading.get_ident()
        try:
            with closing(items):
                for item in items:
                    with changed:
                        waiting.append(item)
                        changed.notify_all()
                        changed.wait_for(lambda: stopped or len(waiting) < ahead)
                        if stopped:
                            break
        except BaseException as error:  # raised again where the items are taken
            failure = error
        finally:
            with changed:
                finished = True
                changed.notify_all()

    def stop() -> None:
        nonlocal stopped
        if process != os.getpid():  # in the child of a fork there is no thread to stop
            return
        with changed:
            stopped = True
            changed.notify_all()
        if done is not None and threading.get_ident() != worker:  # garbage collection may run in the worker
            done.wait()

    # At exit Python ends the remaining threads; one of them inside a library's C++ code aborts the process.
    atexit.register(stop)
    try:
        done = (threads or ThreadPool()).start(work)
        while True:
            _check_process(process)
            with changed:
                changed.wait_for(lambda: waiting or finished)
                if not waiting:
                    break
                item = waiting.popleft()
                changed.notify_all()
            yield item
            del item  # or its memory would be held until the next one is there
        if failure is not None:
            raise failure
    finally:
        atexit.unregister(stop)
        stop()
