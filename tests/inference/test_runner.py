"""Threads and CUDA streams of the network."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import DeviceError
from depth_anything_3.inference.backends.torch_backend import TorchBackend
from depth_anything_3.inference.runner import NetworkRunner
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.jobs import run_images

UNFINISHED_STREAM = """
import sys
import numpy as np
from depth_anything_3.api import DepthAnything3
predictions = DepthAnything3("da3-small").to("cpu").stream(
    [np.zeros((56, 56, 3), np.uint8)] * 50, process_res=56
)
next(predictions)
sys.exit(3)
"""


def test_a_process_may_end_with_a_stream_half_done():
    done = subprocess.run([sys.executable, "-c", UNFINISHED_STREAM], capture_output=True, text=True, timeout=100)
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

    call = TorchBackend.__call__

    def watched(backend, x, **options):
        seen.append(bool(inside))
        return call(backend, x, **options)

    monkeypatch.setattr(NetworkRunner, "_callers_stream", entered)
    monkeypatch.setattr(TorchBackend, "__call__", watched)
    getattr(seeded_small, way)([np.zeros((28, 28, 3), np.uint8)], process_res=28)
    assert seen == [True]


@pytest.mark.parametrize("stage", ["network", "pixels"])
def test_a_lost_device_ends_the_run_with_a_hint_and_the_results_so_far(seeded_small, monkeypatch, tmp_path, stage):
    """As torch tells it: an error at whatever is next asked of the device."""
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(path)
    owner, name = (TorchBackend, "__call__") if stage == "network" else (InputProcessor, "_assemble")
    work, calls = getattr(owner, name), []

    def lost(*arguments, **options):
        calls.append(1)
        if len(calls) > 4:  # the first may be a warm-up
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")
        return work(*arguments, **options)

    monkeypatch.setattr(owner, name, lost)
    at = tmp_path / "out" / "report.json"
    with pytest.raises(
        DeviceError, match=r"^cpu: the device failed \(CUDA error: unspecified launch failure\)"
    ) as told:
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, process_res=28, on_error="skip")
    report = json.loads(at.read_text())
    assert report["stopped_by"] == str(told.value)
    written = sorted(path.name for path in tmp_path.glob("out/npz/*"))
    assert written == [f"{number}.npz" for number in range(report["images"])]
    assert 1 <= len(written) <= 4


def test_an_error_that_is_not_the_devices_stays_what_it_is(seeded_small, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(seeded_small.model, "forward", broken)
    for way in (seeded_small.inference, seeded_small.depth):
        with pytest.raises(RuntimeError, match=r"^shapes do not match$"):
            way([np.zeros((28, 28, 3), np.uint8)], process_res=28)
