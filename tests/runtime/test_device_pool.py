"""Processes of this machine, one for each device, of which some die."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from depth_anything_3.errors import DeviceError, InputFileError, InvalidInputError
from depth_anything_3.runtime.device_pool import DevicePool
from support import pool_work

kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signals")


def run(make, items, devices=("cpu", "cpu")):
    pool = DevicePool(devices)
    return list(pool.map(make, items, pool.workers))


def test_all_processes_share_the_items():
    found = run(pool_work.make_describer, range(20))
    assert sorted(item for item, _, _ in found) == list(range(20))
    processes = {process for _, process, _ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_nothing_is_started_for_nothing():
    assert run(pool_work.make_nothing, []) == []


def test_a_function_is_called_in_a_process():
    pool = DevicePool(["cpu"])
    assert pool.call(partial(pow, 2, 10), pool.workers) == 1024
    assert pool.shared({"a": 1})() == {"a": 1}
    assert pool.describe(pool.workers) == "cpu"


@pytest.mark.parametrize(
    ("visible", "devices", "seen"),
    [(None, ["cuda", "cuda:1"], {"0", "1"}), ("4,GPU-8f", ["cuda:0", "cuda:1"], {"4", "GPU-8f"})],
)
def test_a_process_sees_its_own_gpu_alone(monkeypatch, visible, devices, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    pool = DevicePool(devices)
    assert (pool.device, pool.workers.gpus, pool.describe(pool.workers)) == ("cuda", 1.0, ", ".join(devices))
    assert {gpu for _, _, gpu in pool.map(pool_work.make_describer, range(8), pool.workers)} == seen


def test_a_gpu_that_is_not_visible_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(InvalidInputError, match="device='cuda:1': CUDA_VISIBLE_DEVICES='4' shows 1 GPUs"):
        DevicePool(["cuda:0", "cuda:1"])


def test_devices_of_two_kinds_are_refused():
    with pytest.raises(InvalidInputError, match="devices='cuda:0,cpu': results of cpu and cuda would differ"):
        DevicePool(["cuda:0", "cpu"])


@kills
def test_what_a_killed_process_had_is_computed_by_the_others(tmp_path, caplog):
    make = partial(pool_work.make_killed_by, 3, tmp_path / "killed")
    assert sorted(run(make, range(12))) == list(range(12))
    assert "its process was killed (SIGKILL" in caplog.text
    assert "; the others continue" in caplog.text


@kills
def test_an_item_that_kills_every_process_ends_the_run():
    with pytest.raises(DeviceError, match=r"cpu \(process 0\): its process was killed .*; cpu \(process 1\): its proc"):
        run(partial(pool_work.make_killed_by, 3), range(12))


def test_a_failed_gpu_ends_the_run_when_no_other_is_left():
    make = partial(pool_work.make_failing, 3, pool_work.device_error())
    with pytest.raises(DeviceError, match="cpu: the GPU has fallen off the bus"):
        run(make, range(5), ["cpu"])


def test_an_error_of_an_item_is_raised_as_it_is():
    with pytest.raises(InputFileError, match=r"broken\.jpg"):
        run(partial(pool_work.make_failing, 1, InputFileError("broken.jpg: is damaged")), range(4), ["cpu"])


def test_an_error_of_the_beginning_is_raised_as_it_is():
    with pytest.raises(InputFileError, match=r"weights\.safetensors: not found"):
        run(pool_work.make_nothing, range(4))


def test_a_warning_of_all_processes_is_logged_once(caplog):
    assert sorted(run(pool_work.make_warning, range(6))) == list(range(6))
    assert [one.getMessage().partition(": ")[2] for one in caplog.records] == ["beware"]
