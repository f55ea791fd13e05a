"""The way from disk to depth is timed for each engine in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    with patch.dict(os.environ):  # the scripts set variables
        yield


def timings_of(**seconds):
    from harness.timing import Timing, Turn

    return {name: Timing([Turn(1e3 * one, 1.0) for one in own]) for name, own in seconds.items()}


@pytest.fixture
def photos(tmp_path):
    from end_to_end import write_photos

    return write_photos(tmp_path / "photos", 3, (96, 64))


OPTIONS = {
    "checkpoint": "da3-nano",
    "device": "cpu",
    "process_res": 56,
    "batch_size": 1,
    "backend": "torch",
    "dtype": "float32",
}


def test_ratios_are_those_of_single_rounds_and_to_the_faster_row_of_the_fork():
    from end_to_end import BASE, EngineFacts, rows_of_case
    from harness.depth_process import FORK, DepthEngine

    one, auto = (DepthEngine(FORK, "bfloat16", batch).name for batch in (1, "auto"))
    timings = timings_of(**{BASE: [4, 40, 4], "openvino-float32": [2, 10, 2], one: [8, 60, 8], auto: [6, 80, 6]})
    facts = dict.fromkeys(timings, EngineFacts(0.25, 900.0, 0.0))
    rows = {row.engine: row for row in rows_of_case("da3-small", "memory", 8, "4K", timings, facts)}
    ours = rows["openvino-float32"]
    assert (ours.images_per_second, ours.times_torch, ours.times_fork) == (4, 2, 3)  # `auto` is the faster row
    assert rows[one].times_fork == pytest.approx(0.75)
    assert rows[BASE].times_torch == 1
    assert ours.seconds == (2, 10, 2)
    alone = rows_of_case("da3-small", "memory", 8, "4K", timings_of(**{"openvino-float32": [2]}), facts)
    assert (alone[0].times_torch, alone[0].times_fork) == (None, None)


def test_errors_of_depth_are_relative_to_the_reference():
    from harness.network_engines import depth_errors

    reference = torch.tensor([[1.0, 2.0], [4.0, 5.0]])
    depth = torch.tensor([[1.5, 2.0], [4.0, 4.0]])
    assert depth_errors(depth, reference) == pytest.approx({"abs_rel": (0.5 + 0.2) / 4, "max_error": 0.2})


@pytest.mark.parametrize(
    ("backend", "preset", "device", "reason"),
    [
        ("openvino", "da3-small", "cpu", None),
        ("openvino", "da3-small", "cuda", "computes on the CPU"),
        ("torch", "da3-small", "cuda", None),
        ("awesome-depth-anything-3", "da3-small", "cuda", None),
        ("awesome-depth-anything-3", "da3-nano", "cpu", "does not have this network"),
    ],
)
def test_engines_that_cannot_compute_a_preset_give_the_reason(backend, preset, device, reason):
    from harness.depth_process import DepthEngine

    found = DepthEngine(backend, "float32").unsupported_reason(preset, device)
    assert found is None if reason is None else reason in found


def test_the_command_line_names_the_engines(monkeypatch):
    from end_to_end import _arguments, _plan

    monkeypatch.setattr(sys, "argv", ["end_to_end", "--engines", "openvino-bfloat16", "--fork-python", "python"])
    plan = _plan(_arguments())
    assert [one.name for one in plan.engines] == [
        "openvino-bfloat16",
        "awesome-depth-anything-3-bfloat16, batch 1",
        "awesome-depth-anything-3-bfloat16, batch auto",
    ]
    assert [one.batch_size for one in plan.engines] == ["auto", 1, "auto"]


def test_files_become_depth_in_memory_and_on_disk(photos, tmp_path):
    from harness.depth_child import answer, load

    ours = load(OPTIONS)
    paths, result, out = [str(one) for one in photos], tmp_path / "depth.npy", tmp_path / "out"
    assert answer(ours, ["run", paths, None, str(result)]) == 3
    depth = np.load(result)
    assert depth.shape == (3, 42, 56)
    assert answer(ours, ["run", paths, str(out), None]) == 3
    assert {cv2.imread(str(one), cv2.IMREAD_UNCHANGED).shape for one in out.rglob("*.png")} == {(42, 56)}
    resident, _ = answer(ours, ["peak"])
    assert 100 < resident < 100_000


def test_the_fork_gets_the_calls_that_it_documents(photos, tmp_path):
    """Here it is this package, which has those methods too."""
    from harness.depth_child import answer, load

    fork = load({**OPTIONS, "backend": None})
    paths, results = [str(one) for one in photos], [tmp_path / f"{place}.npy" for place in range(2)]
    assert answer(fork, ["run", paths, None, str(results[0])]) == 3
    assert answer(load(OPTIONS), ["run", paths, None, str(results[1])]) == 3
    assert np.array_equal(*map(np.load, results))
    assert answer(fork, ["run", paths, str(tmp_path / "out"), None]) == 3
    levels = cv2.imread(str(tmp_path / "out" / "0001.png"), cv2.IMREAD_UNCHANGED)
    assert (levels.dtype, levels.max()) == (np.uint16, 65535)


def test_a_process_that_ends_gives_its_last_line():
    from depth_anything_3.errors import UnsupportedError
    from harness.child import Child

    script = "import sys; print('[]', flush=True); sys.stdin.readline(); sys.exit('no such codec')"
    child = Child([sys.executable, "-S", "-c", script], dict(os.environ))
    assert child.ready == []
    with pytest.raises(UnsupportedError, match="ended with exit code 1: no such codec"):
        child.ask("run")
    child.close()


@pytest.mark.long
def test_every_engine_is_measured_from_files_to_depth(photos, tmp_path, monkeypatch):
    from end_to_end import CASES, Comparison, blocks_of_results, measure_preset
    from harness.depth_process import FORK, DepthEngine, DepthJob

    ours = [DepthEngine("torch", "float32"), DepthEngine("openvino", "float32"), DepthEngine("onnxruntime", "bfloat16")]
    plan = Comparison([*ours, DepthEngine(FORK, "bfloat16", 1)], CASES, "96x64", 1, 60.0)
    job = DepthJob("da3-nano", "cpu", 56, tmp_path / "cache", Path(sys.executable))
    rows, missing = measure_preset("da3-nano", job, plan, photos, tmp_path)
    assert [(row.case, row.engine) for row in rows] == [
        (case, name) for case in CASES for name in ("torch-float32", "openvino-float32")
    ]
    assert all(row.abs_rel < 1e-5 and row.images_per_second > 0 and row.peak_mb > 100 for row in rows)
    assert list(missing) == ["da3-nano, onnxruntime-bfloat16", f"da3-nano, {FORK}-bfloat16, batch 1"]
    assert "not in bfloat16" in missing["da3-nano, onnxruntime-bfloat16"]
    assert [len(block.rows) for block in blocks_of_results(rows)] == [2, 2]


@pytest.mark.slow
def test_engines_agree_on_the_network_alone(tmp_path):
    from harness.network_engines import ENGINES, compare_engines
    from harness.network_plan import Plan

    rows = compare_engines("da3-nano", [1, 2], Plan((28, 42), torch.device("cpu"), 1, 30.0), tmp_path)
    assert [(row["batch"], row["engine"], row["dtype"]) for row in rows] == [
        (batch, one.backend.value, one.dtype_name) for batch in (1, 2) for one in ENGINES
    ]
    for row in rows:
        assert row["abs_rel"] < (1e-5 if row["dtype"] == "float32" else 2e-2)
