"""The suite for a GPU, with stand-ins: what it reports, and what of it only a real GPU would run otherwise."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import pytest
import torch

from support.faulty_decoder import EXACT, FaultyDecoder
from support.gpu_processors import CUDA, gpu_processor
from support.images import jpeg

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


class Reported:
    """A report of the suite, and what was written to it."""

    def __init__(self, folder) -> None:
        from gpu_checks.outcome import Report

        self._path = folder / "part.json"
        self.report = Report(self._path, 60.0)

    @property
    def outcomes(self):
        return {one["name"]: one for one in json.loads(self._path.read_text())}


@pytest.fixture
def reported(tmp_path):
    return Reported(tmp_path)


@pytest.fixture
def setting():
    from harness.method import Setting

    return Setting(CPU, torch.float32, 2, CUDA)


def test_every_section_is_a_module_or_the_tests():
    import gpu_suite

    for name in gpu_suite.SECTIONS:
        if name != "tests":
            run = importlib.import_module(f"gpu_checks.{name}").run
            assert list(inspect.signature(run).parameters) == ["report", "setting", "quick"]


# The tests marked `gpu`


TEST_LOG = """============================= test session starts ==============================
collecting ... collected 5 items

tests/gpu/test_a.py::test_one[nvimgcodec, a name] PASSED                 [ 20%]
tests/gpu/test_a.py::test_two SKIPPED (torchcodec is not installed)      [ 40%]
tests/gpu/test_a.py::test_three FAILED                                   [ 60%]
tests/gpu/test_b.py::test_four ERROR                                     [ 80%]
tests/gpu/test_b.py::test_five """


def test_the_log_of_stopped_tests_says_what_was_found():
    from gpu_suite import read_tests

    found = read_tests(TEST_LOG)
    assert found.counts == {"PASSED": 1, "SKIPPED": 1, "FAILED": 1, "ERROR": 1}
    assert found.failed == ["tests/gpu/test_a.py::test_three", "tests/gpu/test_b.py::test_four"]
    assert found.running == "tests/gpu/test_b.py::test_five"
    assert str(read_tests("")) == "none finished; running: none"
    assert read_tests(TEST_LOG + "PASSED  [100%]\n").running is None


@pytest.mark.parametrize(
    ("seconds", "left", "status"), [(120, "PASSED", "FAILED"), (30, "PASSED", "skipped"), (30, "FAILED", "FAILED")]
)
def test_stopped_tests_keep_their_results(monkeypatch, tmp_path, seconds, left, status):
    import gpu_suite

    def stopped(command, log, limit):
        log.write_text(f"tests/gpu/test_a.py::test_one {left}\ntests/gpu/test_a.py::test_two ")

    monkeypatch.setattr(gpu_suite, "_call", stopped)
    section = gpu_suite.Section("tests")
    gpu_suite._run_tests(section, seconds, tmp_path)
    first, *others = section.outcomes
    assert first["status"] == status
    assert f"1 {left.lower()}; running: tests/gpu/test_a.py::test_two" in first["text"]
    assert [one["text"] for one in others] == ["tests/gpu/test_a.py::test_one"] * (left == "FAILED")


# Pixels of an earlier image


class KeepingDecoder(FaultyDecoder):
    """Reports success for files that it cannot decode, and leaves the pixels of the call before in their places."""

    def decode(self, files, headers, min_hw):
        before = [one.clone() for one in self._given]
        found = super().decode(files, headers, min_hw)
        return [before[place] if isinstance(one, str) else one for place, one in enumerate(found)]


def test_a_decoder_that_keeps_an_earlier_image_is_found(reported, setting):
    from gpu_checks.stale_pixels import check_stale_pixels

    check_stale_pixels(reported.report, setting, EXACT, (160, 120), 56, lambda name, device: KeepingDecoder())
    found = reported.outcomes
    gone = [one for name, one in found.items() if "quantisation tables gone" in name]
    assert [one["status"] for one in gone] == ["FAILED", "FAILED"]
    assert "quarter 1 of image 1 is of the earlier image 1" in gone[0]["text"]


def test_an_honest_decoder_has_no_stale_pixels(reported, setting):
    from gpu_checks.stale_pixels import check_stale_pixels

    check_stale_pixels(reported.report, setting, EXACT, (160, 120), 56, lambda name, device: FaultyDecoder())
    found = reported.outcomes
    assert len(found) == 8
    assert {one["status"] for one in found.values()} == {"passed"}
    assert all("none is an earlier image" in one["text"] for one in found.values())


# Bounds and targets


@pytest.mark.parametrize(
    ("levels", "psnr_db", "status"), [(2, 50.1, "passed"), (3, 60.0, "FAILED"), (2, 49.9, "FAILED")]
)
def test_an_exact_decoder_is_held_to_what_is_promised(monkeypatch, reported, setting, levels, psnr_db, status):
    from gpu_checks import decoders
    from harness.fidelity import Difference

    monkeypatch.setattr(decoders, "GPUInputProcessor", lambda *_, **__: gpu_processor())
    monkeypatch.setattr(decoders, "compare", lambda results, _: [Difference(levels, psnr_db, 0.1)] * len(results))
    truths = {method: [] for method in decoders.ProcessResMethod}
    decoders._resampled(reported.report, setting, EXACT, "torch", {"one": jpeg(120, 90)}, truths)
    assert reported.outcomes["gpu_decode, stand-in, torch, exact"]["status"] == status


def row(method, group, ms):
    from harness.cases import Row

    times = (ms, ms)
    return Row("4K", "files", "alone", 4, method, group, runs=2, median_ms=ms, speed_up=60 / ms, times_ms=times)


def test_targets_are_about_our_best_method_and_the_chosen_one(reported):
    from gpu_checks.table import _targets
    from harness.method import OURS, REFERENCE, USUAL
    from harness.methods import UsualGPUDecode

    rows = [row(REFERENCE, USUAL, 60.0), row(UsualGPUDecode.name, USUAL, 20.0)]
    rows += [row("ours: auto", OURS, 7.0), row("ours: gpu_decode (nvimgcodec)", OURS, 5.0)]
    _targets(reported.report, rows)
    met = {name: one["data"]["met"] for name, one in reported.outcomes.items()}
    assert met == {
        "target, ours: gpu_decode (nvimgcodec): ms for 4 x 4K": True,
        f"target, ours: gpu_decode (nvimgcodec): times faster than {REFERENCE}": True,
        f"target, ours: gpu_decode (nvimgcodec): times faster than {UsualGPUDecode.name}": True,
        "target, ours: auto: ms for 4 x 4K": False,
        f"target, ours: auto: times faster than {REFERENCE}": False,
        f"target, ours: auto: times faster than {UsualGPUDecode.name}": False,
    }


def test_a_calibration_becomes_a_method_of_the_table(monkeypatch, reported, setting):
    from depth_anything_3.inputs.routing.costs import Cost, Costs
    from gpu_checks import table

    costs = Costs((Cost("stand-in", 3072, 1, 1.0, 2.0),))
    monkeypatch.setattr(table, "calibrate", lambda *_, **__: costs)
    method = table._calibrated(reported.report, setting, ((64, 48),))
    method.close()
    assert method.setting.capabilities.costs is costs
    assert reported.outcomes["calibration"]["text"] == "1 costs"
