"""Threads and streams of the network: what a process is left with, and where its work is queued."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from depth_anything_3.network_runner import NetworkRunner

LEFT_HALF_DONE = """
import sys
import numpy as np
from depth_anything_3.api import DepthAnything3
predictions = DepthAnything3("da3-small").to("cpu").stream([np.zeros((280, 280, 3), np.uint8)] * 50)
next(predictions)
sys.exit(3)
"""


def test_a_process_may_end_with_a_stream_half_done():
    done = subprocess.run([sys.executable, "-c", LEFT_HALF_DONE], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("way", ["inference", "depth"])
def test_the_network_works_on_the_callers_stream_of_its_own_device(seeded_small, monkeypatch, way):
    """Else, with the network on one GPU and another one current, its results are taken before they are there."""
    inside, seen = [], []

    @contextmanager
    def entered(_runner):
        inside.append(True)
        yield
        inside.clear()

    call = NetworkRunner._call

    def watched(runner, x, options):
        seen.append(bool(inside))
        return call(runner, x, options)

    monkeypatch.setattr(NetworkRunner, "_callers_stream", entered)
    monkeypatch.setattr(NetworkRunner, "_call", watched)
    getattr(seeded_small, way)([np.zeros((28, 28, 3), np.uint8)], process_res=28)
    assert seen == [True]
