"""Work on the next items while the caller is busy with this one: bounded, and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

__all__ = ["ordered_map"]

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
