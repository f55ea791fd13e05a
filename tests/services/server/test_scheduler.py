"""The scheduler without a server."""

from __future__ import annotations

import pytest

from depth_anything_3.inference.options import BatchOptions
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.scheduler import Scheduler
from support.serving import grey_engine


@pytest.fixture
def scheduler():
    scheduler = Scheduler(grey_engine(), BatchOptions())
    yield scheduler
    scheduler.close()


def test_work_that_was_abandoned_before_it_began_is_not_done_and_later_work_is(scheduler):
    done = []
    abandoned = scheduler.exclusive(lambda: done.append("abandoned"))
    scheduler.abandon()
    scheduler.start()
    scheduler.exclusive(lambda: done.append("later")).result(20)
    with pytest.raises(Problem, match="stop"):
        abandoned.result(20)
    assert done == ["later"]


def test_work_that_is_abandoned_while_it_runs_is_finished_and_dropped(scheduler):
    def work():
        scheduler.abandon()
        return "result"

    scheduler.start()
    with pytest.raises(Problem, match="stop"):
        scheduler.exclusive(work).result(20)
    assert scheduler.exclusive(lambda: "later").result(20) == "later"
