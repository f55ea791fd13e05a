from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.runtime.prefetch import in_background, ordered_map
from depth_anything_3.runtime.threads import ThreadPool


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


@given(st.integers(0, 30), st.integers(1, 8))
def test_results_come_in_order_with_their_indices(pool, count, ahead):
    results = ordered_map(pool, lambda index, item: (index, item), range(100, 100 + count), ahead=ahead)
    assert list(results) == [(index, 100 + index) for index in range(count)]


def test_no_more_than_the_bound_is_drawn_ahead(pool):
    drawn = []

    def items():
        for item in range(1000):
            drawn.append(item)
            yield item

    results = ordered_map(pool, lambda index, item: item, items(), ahead=4)
    assert drawn == []
    for taken in range(10):
        next(results)
        assert len(drawn) <= taken + 1 + 4


def test_an_error_comes_at_its_place_in_the_order(pool):
    def work(index: int, item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = ordered_map(pool, work, range(10), ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_an_error_of_the_source_comes_after_its_items(pool):
    def items():
        yield from range(5)
        raise OSError("the camera is gone")

    results = ordered_map(pool, lambda index, item: item, items(), ahead=8)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="camera is gone"):
        next(results)


def test_nothing_is_drawn_from_a_source_that_has_failed(pool):
    class Source:
        calls = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.calls += 1
            if self.calls == 3:
                raise OSError("the camera is gone")
            return self.calls

    source = Source()
    results = ordered_map(pool, lambda index, item: item, source, ahead=2)
    assert [next(results) for _ in range(2)] == [1, 2]
    with pytest.raises(OSError, match="camera is gone"):
        next(results)
    assert source.calls == 3


def test_leaving_early_cancels_what_has_not_begun():
    begun = []
    gate = threading.Event()

    def work(index: int, item: int) -> int:
        begun.append(item)
        if item:
            gate.wait(10)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = ordered_map(pool, work, range(100), ahead=10)
        assert next(results) == 0
        results.close()  # the only worker is held by item 1
        gate.set()
    assert begun in ([0], [0, 1])


# A thread of its own


def counted(drawn, closed, error=None, limit=1000):
    try:
        for item in range(limit):
            if item == 5 and error is not None:
                raise error
            drawn.append(threading.current_thread())
            yield item
    finally:
        closed.append(threading.current_thread())


def test_a_background_thread_draws_in_order_and_not_too_far():
    drawn, closed = [], []
    items = in_background(counted(drawn, closed), ahead=2)
    assert not drawn
    for taken in range(20):
        assert next(items) == taken
        assert len(drawn) <= taken + 1 + 2
    assert threading.current_thread() not in drawn
    items.close()
    assert closed == drawn[:1]
    closed[0].join(60)
    assert not closed[0].is_alive()


def test_one_background_after_the_other_works_in_the_same_thread():
    threads, drawn = ThreadPool(), []
    for _ in range(3):
        assert list(in_background(counted(drawn, [], limit=5), ahead=1, threads=threads)) == list(range(5))
    assert len(set(drawn)) == 1
    assert drawn[0].is_alive()


def test_an_error_in_closing_a_generator_is_raised_and_its_thread_reused():
    def broken(thread):
        thread.append(threading.current_thread())
        try:
            yield 1
        finally:
            raise OSError("cannot be closed")

    threads, seen = ThreadPool(), []
    for _ in range(2):
        with pytest.raises(OSError, match="cannot be closed"):
            list(in_background(broken(seen), ahead=1, threads=threads))
    assert seen[0] is seen[1]


def test_an_error_in_the_background_comes_after_what_was_given():
    items = in_background(counted([], [], OSError("the camera is gone")), ahead=8)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="camera is gone"):
        next(items)


def test_taken_items_are_not_retained_in_the_background():
    class Frame:
        pass

    def frames():
        for _ in range(3):
            yield Frame()

    items = in_background(frames(), ahead=1)
    alive = [weakref.ref(next(items)) for _ in range(2)]
    assert list(items)
    gc.collect()
    assert [one() for one in alive] == [None, None]


class Mortal:
    """An executor that dies of some items, and then takes none; the items that it was given."""

    def __init__(self, deadly, given):
        self.deadly, self.given, self.dead = deadly, given, False

    def submit(self, work, index, item):
        if self.dead:
            raise BrokenProcessPool
        self.given.append(item)
        future = Future()
        if item in self.deadly:
            self.dead = True
            self.deadly[item] -= 1
            if self.deadly[item] == 0:
                del self.deadly[item]
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(work(index, item))
        return future


@pytest.mark.parametrize(
    ("deadly", "lost"),
    [({}, set()), ({3: 1}, set()), ({3: 2}, {3}), ({0: 9, 4: 9, 5: 9, 9: 9}, {0, 4, 5, 9}), ({5: 1, 6: 1}, set())],
    ids=["none", "killed once", "kills", "several kill", "killed one after the other"],
)
def test_a_killed_worker_costs_only_the_item_that_kills_it_again(deadly, lost):
    given = []
    new = lambda: Mortal(deadly, given)  # noqa: E731
    results = ordered_map(
        new(), lambda index, item: (index, item), range(10), ahead=4, renew=new, lost=lambda index, item: None
    )
    assert list(results) == [None if item in lost else (item, item) for item in range(10)]


def test_without_another_executor_a_killed_worker_is_reported():
    with pytest.raises(BrokenProcessPool):
        list(ordered_map(Mortal({1: 1}, []), lambda index, item: item, range(3), ahead=2))
