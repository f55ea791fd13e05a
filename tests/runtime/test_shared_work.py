from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from depth_anything_3.runtime.shared_work import run_parts, run_shared


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("helpers", [0, 1, 2])
def test_every_part_is_done_once(pool, count, helpers):
    done = []
    run_parts(done.append, count, executor=pool, helpers=helpers)
    assert sorted(done) == list(range(count))


def test_two_threads_work_at_the_same_time(pool):
    both = threading.Barrier(2, timeout=30)
    run_parts(lambda part: both.wait() and None, 2, executor=pool, helpers=1)


def test_a_busy_pool_is_not_waited_for(pool):
    release = threading.Event()
    busy = [pool.submit(release.wait) for _ in range(2)]
    done = []
    run_parts(done.append, 5, executor=pool, helpers=2)
    release.set()
    assert done == list(range(5))
    assert all(one.result(30) for one in busy)


def test_parts_that_are_not_needed_are_not_begun(pool):
    begun = []
    run_shared(lambda part: begun.append(part) or part < 3, 10, pool, 0)
    assert begun == [0, 1, 2, 3]


@pytest.mark.parametrize("helpers", [0, 2])
def test_an_error_is_raised_and_ends_the_work(pool, helpers):
    begun = []

    def work(part):
        begun.append(part)
        raise ValueError(part)

    with pytest.raises(ValueError, match=r"\d"):
        run_shared(work, 1000, pool, helpers)
    assert len(begun) <= helpers + 1
