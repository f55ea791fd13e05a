"""Share the parts of one piece of work between this thread and idle threads of a pool."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Executor

__all__ = ["run_parts", "run_shared"]


def run_shared(work: Callable[[int], bool], count: int, executor: Executor, helpers: int) -> None:
    """Call `work(0)` to `work(count - 1)`, in order of their beginning, each in this thread or in one of the pool.

    This thread does what no other has begun, so it never waits for a busy pool. It returns when all calls have.

    Args:
        work: returns whether calls that have not begun are still needed.
        count: number of calls.
        executor: thread pool of the helpers.
        helpers: maximum number of its threads.

    Raises:
        Exception: an error of `work`; calls that have not begun are dropped.
    """
    numbers = itertools.count()
    needed = True

    def take() -> None:
        nonlocal needed
        while needed and (number := next(numbers)) < count:
            try:
                more = work(number)
            except BaseException:
                needed = False
                raise
            if not more:
                needed = False

    futures = [executor.submit(take) for _ in range(min(helpers, count - 1))]
    take()
    for one in futures:
        if not one.cancel():
            one.result()


def run_parts(work: Callable[[int], None], count: int, *, executor: Executor, helpers: int) -> None:
    """Like `run_shared`, for work that is needed whole."""

    def part(number: int) -> bool:
        work(number)
        return True

    run_shared(part, count, executor, helpers)
