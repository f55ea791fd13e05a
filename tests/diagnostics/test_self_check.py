"""The self-check passes good decoders and reports bad ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from depth_anything_3.diagnostics.self_check import SelfCheck, self_check
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.routing.strategy import Capabilities
from support.fake_gpu import Opener, gpu_with

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checks() -> dict[str, SelfCheck]:
    """Results for a machine with good and bad decoders."""
    machine = gpu_with("good", "nearest", "wrong", "picky", "failing", "broken", coarse="nearest")
    return {one.tool or one.strategy.value: one for one in self_check(CPU, machine, open_decoder=Opener())}


def test_every_strategy_of_the_machine_is_checked(checks):
    assert list(checks) == ["cpu", "hybrid", "torch", "good", "nearest", "wrong", "picky", "failing", "broken"]
    assert checks["torch"].strategy is Strategy.FULL_GPU
    assert {checks[name].strategy for name in list(checks)[3:]} == {Strategy.GPU_DECODE}


@pytest.mark.parametrize("name", ["cpu", "hybrid", "torch", "good", "nearest"])
def test_a_strategy_that_works_is_within_a_level_of_the_reference(checks, name):
    check = checks[name]
    assert (check.ok, check.problem) == (True, None)
    assert check.max_difference <= 1
    assert check.psnr_db > 50
    assert check.milliseconds > 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("wrong", "levels (limit 2); please report this", id="wrong pixels"),
        pytest.param("picky", "not this one", id="refuses"),
        pytest.param("failing", "failing: out of memory", id="raises"),
        pytest.param("broken", "broken does not run here", id="cannot be opened"),
    ],
)
def test_a_strategy_that_does_not_work_says_why(checks, name, told):
    check = checks[name]
    assert not check.ok
    assert told in check.problem
    assert "\n" not in check.problem


def test_a_resampler_that_is_not_there_is_reported():
    machine = replace(gpu_with(), resamplers=("triton",))
    problems = {one.strategy.value: one.problem for one in self_check(CPU, machine)}
    assert "resampler 'triton' on cpu" in problems["full_gpu"]


def test_an_inexact_strategy_is_judged_by_psnr():
    machine = gpu_with("wrong", coarse="wrong")
    *_, check = self_check(CPU, machine, open_decoder=Opener())
    assert not check.exact
    assert "below the limit of 44 dB" in check.problem


def test_normalised_values_are_checked_too(monkeypatch):
    monkeypatch.setattr("depth_anything_3.diagnostics.self_check.normalize", lambda *_: math.nan)
    (check,) = self_check(CPU, Capabilities())
    assert "normalised values differ by nan from the normalised pixels" in check.problem
