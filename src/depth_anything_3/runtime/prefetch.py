"""Work on the next items while the caller is busy with this one: bounded, and in order."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import closing
from itertools import islice
from typing import TypeVar

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
    """Yield `work(index, item)` for each item, in order, with at most `ahead` of them begun or waiting to be fetched.

    Unlike `Executor.map` it draws from `items` only as results are taken, so a generator of a million paths costs
    nothing. Closing the iterator early cancels what has not begun.

    Where a worker was killed, `renew` gives another executor and what was under way begins again, its first item alone;
    `lost` then stands in for `work` for an item whose worker is killed once more.

    Raises:
        Exception: whatever `work` raised, at that item's place in the order; whatever `items` raised, after the results
            of those it had given.
    """
    numbered = enumerate(items)
    pending: deque[tuple[int, Item, Future[Result]]] = deque()
    ended: Exception | None = None

    def begin(index: int, item: Item) -> tuple[int, Item, Future[Result]]:
        try:
            return index, item, executor.submit(work, index, item)
        except BrokenExecutor as error:  # a worker was killed just now; told when it is this item's turn
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
            index, item, future = pending.popleft()
            try:
                result = future.result()
            except BrokenExecutor:
                if renew is None or lost is None:
                    raise
                result, executor = _once_more(renew, work, lost, index, item)
                pending = deque(begin(index, item) for index, item, _ in pending)
            refill()
            yield result
        if ended is not None:
            raise ended
    finally:
        for *_, future in pending:
            future.cancel()


def _once_more(
    renew: Callable[[], Executor],
    work: Callable[[int, Item], Result],
    lost: Callable[[int, Item], Result],
    index: int,
    item: Item,
) -> tuple[Result, Executor]:
    """The result of an item whose worker was killed, and the executor to go on with."""
    executor = renew()
    try:
        return executor.submit(work, index, item).result(), executor
    except BrokenExecutor:
        return lost(index, item), renew()


def in_background(
    items: Generator[Item, None, None], *, ahead: int, threads: ThreadPool | None = None
) -> Generator[Item, None, None]:
    """Draw from a generator in a thread of its own, at most `ahead` items before they are taken, in order.

    Closing it closes the generator, in its thread, when the item under way is done; so does the end of the process.

    Args:
        items: of which this is the only user.
        ahead: 1 or more.
        threads: give the thread; None: a new one, which ends with this.

    Raises:
        Exception: whatever `items` raised, after what it had given.
    """
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
        with changed:
            stopped = True
            changed.notify_all()
        if done is not None and threading.get_ident() != worker:  # where garbage is collected, it may be
            done.wait()

    # Python ends the threads that are left; one of them in the midst of a library's C++ aborts the process.
    atexit.register(stop)
    try:
        done = (threads or ThreadPool()).start(work)
        while True:
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
