"""A store that refuses for a while is asked again; one that does not come back costs its wait once."""

from __future__ import annotations

import logging

import pytest

from depth_anything_3.jobs.sources.retries import Retries


class Clock:
    """Time that passes only in pauses, and a store that answers again at a given time."""

    def __init__(self, answers_at: float) -> None:
        self.now, self.answers_at, self.attempts = 0.0, answers_at, 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def work(self) -> str:
        self.attempts += 1
        if self.now < self.answers_at:
            raise ConnectionError("https://u:secret@host refused")
        return "content"


def retries(clock: Clock) -> Retries:
    return Retries("s3://bucket", clock=lambda: clock.now, sleep=clock.sleep)


def test_a_store_that_refuses_for_20_seconds_is_survived_and_reported_once(caplog):
    clock = Clock(answers_at=20)
    with caplog.at_level(logging.INFO, "depth_anything_3"):
        assert retries(clock)(clock.work) == "content"
    assert 20 <= clock.now < 30
    assert clock.attempts < 10  # with growing pauses
    assert len(caplog.records) == 2
    assert "refused" in caplog.text
    assert "secret" not in caplog.text
    assert "answers again" in caplog.text


def test_a_store_that_stays_away_costs_the_wait_once():
    clock = Clock(answers_at=1e9)
    call = retries(clock)
    with pytest.raises(ConnectionError):
        call(clock.work)
    assert 40 < clock.now <= 60
    waited, attempts = clock.now, clock.attempts
    for _ in range(1000):
        with pytest.raises(ConnectionError):
            call(clock.work)
    assert clock.now == waited
    assert clock.attempts == attempts + 1000
    clock.answers_at = 0
    assert call(clock.work) == "content"


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), PermissionError(), type("NoCredentialsError", (Exception,), {})()]
)
def test_what_cannot_pass_is_not_repeated(error):
    clock = Clock(0)

    def work():
        clock.attempts += 1
        raise error

    with pytest.raises(type(error)):
        retries(clock)(work)
    assert clock.attempts == 1
