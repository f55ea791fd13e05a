"""Work on the next items while the caller is busy with this one: bounded, and in order."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

__all__ = ["in_background", "ordered_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    executor: Executor, work: Callable[[int, Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """Yield `work(index, item)` for each item, in order, with at most `ahead` of them begun or waiting to be fetched.

    Unlike `Executor.map` it draws from `items` only as results are taken, so a generator of a million paths costs
    nothing. Closing the iterator early cancels what has not begun.

    Raises:
        Exception: whatever `work` raised, at that item's place in the order; whatever `items` raised, after the results
            of those it had given.
    """
    numbered = enumerate(items)
    pending: deque[Future[Result]] = deque()
    ended: Exception | None = None

    def refill() -> None:
        nonlocal ended
        if ended is not None:
            return
        try:
            for index, item in islice(numbered, ahead - len(pending)):
                pending.append(executor.submit(work, index, item))
        except Exception as error:  # the caller's generator may raise anything
            ended = error

    try:
        refill()
        while pending:
            result = pending.popleft().result()
            refill()
            yield result
        if ended is not None:
            raise ended
    finally:
        for future in pending:
            future.cancel()


def in_background(items: Generator[Item, None, None], *, ahead: int) -> Generator[Item, None, None]:
    """Draw from a generator in a thread of its own, at most `ahead` items before they are taken, in order.

    Closing it closes the generator, in its thread, when the item under way is done; so does the end of the process.

    Raises:
        Exception: whatever `items` raised, after what it had given.
    """
    waiting: deque[Item] = deque()
    changed = threading.Condition()
    stopped = finished = False
    failure: BaseException | None = None

    def work() -> None:
        nonlocal finished, failure
        try:
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
            try:
                items.close()
            finally:
                with changed:
                    finished = True
                    changed.notify_all()

    thread = threading.Thread(target=work, name="da3-prefetch", daemon=True)

    def stop() -> None:
        nonlocal stopped
        with changed:
            stopped = True
            changed.notify_all()
        thread.join()

    # Python ends the threads that are left; one of them in the midst of a library's C++ aborts the process.
    atexit.register(stop)
    thread.start()
    try:
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
