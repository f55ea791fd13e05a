"""What processes agree on."""

from __future__ import annotations

import os

import pytest

from depth_anything_3.runtime.child_processes import core_shares


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        (range(8), 2, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ((1, 4, 6), 2, [(1,), (4, 6)]),
        ((0, 1), 4, [(0,), (1,), (0,), (1,)]),
    ],
)
def test_processes_share_the_cores(monkeypatch, cores, count, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores), raising=False)
    assert core_shares(count) == shares
