"""`da3 doctor` reports the machine and its strategies, and notices what is broken."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from depth_anything_3 import __version__, cli
from depth_anything_3.diagnostics import doctor
from depth_anything_3.diagnostics import doctor_report as doctor_report
from depth_anything_3.diagnostics.environment import Environment
from depth_anything_3.diagnostics.hub_answer import HubAnswer
from depth_anything_3.diagnostics.self_check import SelfCheck, self_check
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.jpeg_engine import MissingEngine
from depth_anything_3.inputs.routing import cost_store as calibration
from depth_anything_3.inputs.routing.cost_store import Calibration
from depth_anything_3.inputs.routing.costs import Cost, Costs
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.model import hub_cache
from depth_anything_3.runtime.disk import DiskSpace
from depth_anything_3.runtime.memory import MainMemory
from support.fake_gpu import Opener, gpu_with

CPU = torch.device("cpu")
DONE, FAILURES, MISUSE = 0, 1, 2
COSTS = Costs(
    (Cost("cpu", 307_200, 1, 4.0, 5.0), Cost("good", 307_200, 1, 1.0, 9.0), Cost("good", 921_600, 4, 2.0, 3.0))
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """A cache folder of the test's own, and no wish from the environment."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(calibration.platformdirs, "user_cache_path", lambda *_, **__: folder)
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("DA3_STRATEGY", raising=False)
    monkeypatch.setattr(doctor, "other_owners", lambda: ())  # reads the files of all distributions
    return folder


PASSED = [SelfCheck(Strategy.CPU, None, True, None, 1, math.inf, 9.5)]


@pytest.fixture
def checked(monkeypatch):
    """Leaves out the self-check, which takes most of the time."""
    monkeypatch.setattr("depth_anything_3.diagnostics.self_check.self_check", lambda *_: PASSED)


@pytest.fixture
def da3(monkeypatch, capsys):
    """Runs the command in this process; gives its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["da3", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def as_gpu(monkeypatch):
    """Makes the doctor find a machine with stand-in decoders on the CPU's device."""

    def pretend(capabilities: Capabilities) -> Opener:
        opener = Opener()
        monkeypatch.setattr(doctor, "find_capabilities", lambda _: capabilities)
        monkeypatch.setitem(self_check.__kwdefaults__, "open_decoder", opener)
        monkeypatch.setitem(doctor.calibrate.__kwdefaults__, "open_decoder", opener)
        monkeypatch.setitem(doctor.calibrate.__kwdefaults__, "sizes", ((64, 48),))
        monkeypatch.setattr("depth_anything_3.diagnostics.calibrate._MAX_RUNS", 1)
        monkeypatch.setattr("depth_anything_3.diagnostics.self_check._SIZE", (192, 108))
        return opener

    return pretend


def printed(*parts: object) -> str:
    """As a terminal of 80 columns shows it."""
    console = Console(width=80, file=io.StringIO())
    console.print(*parts)
    return console.file.getvalue()


ENVIRONMENT = Environment(
    container=False,
    memory=MainMemory(None, None),
    hub_disk=DiskSpace(Path("hub"), None, None, True),
    cache_disk=DiskSpace(Path("cache"), None, None, True),
    extras=(),
    bundled=(),
    cached=(),
    hub=HubAnswer("hub", True),
    variables={},
)


# The command


def test_all_is_well_on_a_cpu(da3, cache, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = da3("doctor", "--device", "cpu")
    assert (code, err) == (DONE, "")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    flat = "".join(out.split())  # long paths are wrapped
    for part in (
        *(__version__, torch.__version__, "OpenCV", "Pillow", "all inputs", "the network is on the CPU"),
        *("GiB free", "was not asked (HF_HUB_OFFLINE is set)", f"hub's cache {cache.parent}", "GB free"),
        *("pip install '.[gsplat]'", "da3-nano 9 MB in the package", "none in the hub's cache"),
    ):
        assert "".join(part.split()) in flat
    assert out.rstrip().endswith("ok")
    assert list(cache.parent.iterdir()) == []


def test_json_holds_everything(da3, cache, checked, monkeypatch):
    monkeypatch.setattr(hub_cache.constants, "HF_HUB_OFFLINE", False)
    code, out, err = da3("doctor", "--device", "cpu", "--json", "--offline")
    assert (code, err) == (DONE, "")
    report = json.loads(out)
    assert report["ok"] is True
    assert (report["package"], report["device"], report["device_type"]) == (__version__, "cpu", "cpu")
    assert report["calibration"] == {
        "path": str(calibration.calibration_path(doctor.find_capabilities(CPU))),
        "date": None,
        "ignored": None,
        "rows": [],
    }
    assert {(one["input"], one["mode"]) for one in report["strategies"]} >= {
        ("JPEG 1920x1080", "single image"),
        ("PNG", "stream"),
        ("NumPy array", "stream"),
    }
    assert {one["strategy"] for one in report["strategies"]} == {"cpu"}
    assert report["checks"] == [
        {
            "strategy": "cpu",
            "tool": None,
            "exact": True,
            "ok": True,
            "problem": None,
            "max_difference": 1,
            "psnr_db": None,
            "milliseconds": 9.5,
        }
    ]
    found = report["environment"]
    assert found["hub"] == {"endpoint": hub_cache.constants.ENDPOINT, "reachable": None, "reason": "--offline"}
    assert found["extras"]["heif"]["install"] == "pip install '.[heif]'"
    assert found["disks"]["hub_cache"]["folder"] == hub_cache.constants.HF_HUB_CACHE
    assert [(one["name"], one["complete"]) for one in found["checkpoints"]] == [("da3-nano", True)]
    assert found["memory"]["total_bytes"] != 0
    assert not cache.exists()


def test_a_device_that_is_not_there_is_misuse(da3):
    code, out, err = da3("doctor", "--device", "cuda:99")
    assert (code, out) == (MISUSE, "")
    assert err.startswith("error: --device cuda:99 cannot be used")


def test_calibrating_without_a_gpu_says_that_there_is_no_choice(da3, cache, checked):
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert code == DONE
    assert err == "nothing to calibrate: the network is on the CPU\n"
    assert "all inputs" in out
    assert not cache.exists()


def test_a_strategy_set_by_the_environment_but_unavailable_is_a_failure(da3, checked, monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "gpu_decode")
    code, out, err = da3("doctor", "--device", "cpu")
    assert (code, err) == (FAILURES, "")
    assert re.search(r"DA3_STRATEGY +gpu_decode", out)
    assert "needs a GPU" in out
    code, out, _ = da3("doctor", "--device", "cpu", "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["requested_strategy"]) == (FAILURES, False, "gpu_decode")
    assert {one["strategy"] for one in told["strategies"]} == {None}


def test_a_wish_of_the_environment_that_is_none_is_misuse(da3, monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "fastest")
    code, out, err = da3("doctor", "--device", "cpu")
    assert (code, out) == (MISUSE, "")
    assert "DA3_STRATEGY" in err
    assert "'fastest'" in err


# With stand-ins for a GPU


def test_calibrating_stores_what_later_runs_use(da3, as_gpu, cache, checked, monkeypatch):
    machine = gpu_with("good")
    as_gpu(machine)
    monkeypatch.setattr(doctor, "calibrate", lambda *_, **__: COSTS)
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert (code, err) == (DONE, "")
    assert "Calibration: ms per image" in out
    stored = calibration.load_costs(machine)
    assert stored.decoders == ("cpu", "good")
    monkeypatch.setattr(doctor, "find_capabilities", lambda _: replace(machine, costs=stored))
    _, out, _ = da3("doctor", "--device", "cpu", "--json")
    told = json.loads(out)
    assert len(told["calibration"]["rows"]) == len(COSTS.table)
    assert next(iter(told["strategies"]))["reason"].startswith("measured: ")


def test_calibrating_with_decoders_that_do_not_run_stores_nothing(da3, as_gpu, cache):
    as_gpu(gpu_with("broken"))
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert code == FAILURES  # the self-check tells of it as well
    assert "broken does not run here" in " ".join(out.split())
    assert "no GPU decoder could be measured" in err
    assert not cache.exists()


def test_a_cache_folder_that_cannot_be_written_is_reported(da3, as_gpu, cache, monkeypatch):
    cache.write_text("a file")
    as_gpu(gpu_with("good"))
    monkeypatch.setattr(doctor, "calibrate", lambda *_, **__: COSTS)
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert (code, out) == (FAILURES, "")
    assert str(cache) in err
    assert "the calibration is not stored" in err


def test_a_gpu_report_fits_80_columns_and_names_strategies_and_reasons(as_gpu, monkeypatch):
    as_gpu(gpu_with("good", "nearest", coarse="nearest"))
    memory = {"memory_bytes": 80 * 2**30, "free_memory_bytes": 79 * 2**30}
    diagnosis = replace(doctor.examine(CPU), compute_capability="9.0", **memory)
    text = printed(doctor_report.report(diagnosis, [], ENVIRONMENT))
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for told in (
        "good 1.0 (exact), nearest 1.0 (nearest chroma)",
        "compute capability 9.0, 80.0 GiB, 79.0 GiB free",
        "JPEG engines 1",
        "JPEG engine through good",
        "full_gpu already in the GPU's memory",
        "PNG: GPU decoders support JPEG only",
        "da3 doctor --calibrate",
    ):
        assert told in flat


def test_markup_in_names_is_printed_as_it_is(as_gpu):
    as_gpu(replace(gpu_with("good"), device_name="[bold]GPU[/]", missing=("pip install 'x[cuda]'",)))
    stored = Calibration(Path("[red]/x"), ignored="[red]/x: damaged")
    diagnosis = replace(doctor.examine(CPU), calibration=stored)
    text = printed(
        doctor_report.report(diagnosis, [SelfCheck(Strategy.CPU, "[a]", True, problem="[b] is [/]")], ENVIRONMENT)
    )
    for told in ("[bold]GPU[/]", "pip install 'x[cuda]'", "[red]/x: damaged", "[a]", "[b] is [/]"):
        assert told in text


def test_measured_costs_are_shown_by_strategy_and_size():
    lines = printed(doctor_report.cost_report(COSTS)).splitlines()
    rows = [line.split() for line in lines if line.startswith(("cpu", "good"))]
    assert rows == [
        ["cpu", "1", "4", "/", "5", "-"],
        ["good", "1", "1", "/", "9", "-"],
        ["good", "4", "-", "2", "/", "3"],
    ]


def test_kinds_of_one_image_and_of_a_stream_may_differ():
    strategies = doctor.choose_strategies(replace(gpu_with("good"), costs=COSTS))
    chosen = {(one.input, one.mode): one.choice.strategy for one in strategies}
    assert chosen["JPEG 640x480", "single image"] is Strategy.GPU_DECODE
    assert chosen["JPEG 640x480", "stream"] is Strategy.HYBRID
    assert chosen["progressive JPEG", "single image"] is Strategy.HYBRID
    assert chosen["tensor on the GPU", "stream"] is Strategy.FULL_GPU


def test_a_wish_without_a_meaning_is_refused_where_routes_are_made(monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "x")
    with pytest.raises(InvalidInputError, match="DA3_STRATEGY"):
        doctor.choose_strategies(Capabilities())


def test_another_distribution_with_this_package_is_hinted_at(monkeypatch):
    monkeypatch.setattr(doctor, "driver_version", lambda: None)
    monkeypatch.setattr(doctor, "other_owners", lambda: ("depth-anything-3",))
    (hint,) = doctor.examine(CPU).hints
    assert hint.startswith("depth-anything-3 also installs the package depth_anything_3")
    assert "pip uninstall depth-anything-3 depth-anything-3-fast" in hint


def test_the_cause_of_a_missing_jpeg_engine_is_shown_with_what_to_do(as_gpu):
    cause = MissingEngine("libnvcuvid.so.1 of the NVIDIA driver cannot be loaded", "add the driver capability 'video'")
    hidden = replace(gpu_with("good"), jpeg_engines=0, missing_engine=cause, missing=("better",))
    as_gpu(hidden)
    diagnosis = doctor.examine(CPU)
    assert diagnosis.hints == ("better", f"no JPEG engine can be used: {cause.cause}; {cause.hint}")
    assert diagnosis.as_dict()["missing_engine"] == {"cause": cause.cause, "hint": cause.hint}
    text = " ".join(printed(doctor_report.report(diagnosis, [], ENVIRONMENT)).split())
    assert "JPEG engines 0: libnvcuvid.so.1 of the NVIDIA driver cannot be loaded" in text
    (reason,) = {one.choice.reason for one in diagnosis.strategies if one.input == "JPEG 1920x1080"}
    assert reason.startswith(f"no hardware JPEG engine ({cause.cause})")
