"""`da3 doctor` reports the machine and its strategies, and notices what is broken."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from depth_anything_3 import __version__, cli
from depth_anything_3.diagnostics import doctor
from depth_anything_3.diagnostics import doctor_report as doctor_report
from depth_anything_3.diagnostics.self_check import SelfCheck, self_check
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.jpeg_engine import MissingEngine
from depth_anything_3.inputs.routing import cost_store as calibration
from depth_anything_3.inputs.routing.cost_store import Calibration
from depth_anything_3.inputs.routing.costs import Cost, Costs
from depth_anything_3.inputs.routing.strategy import Capabilities
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
    monkeypatch.delenv("DA3_STRATEGY", raising=False)
    return folder


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
        return opener

    return pretend


def printed(*parts: object) -> str:
    """As a terminal of 80 columns shows it."""
    console = Console(width=80, file=io.StringIO())
    console.print(*parts)
    return console.file.getvalue()


# The command


def test_doctor_as_a_process_finds_all_well_on_a_cpu(tmp_path):
    command = shutil.which("da3", path=os.fspath(Path(sys.executable).parent))
    env = {name: value for name, value in os.environ.items() if name != "DA3_STRATEGY"}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([command, "doctor", "--device", "cpu"], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    for told in (__version__, torch.__version__, "OpenCV", "Pillow", "all inputs", "the network is on the CPU"):
        assert told in done.stdout
    assert done.stdout.rstrip().endswith("ok")
    assert list(tmp_path.iterdir()) == []


def test_json_holds_everything(da3, cache):
    code, out, err = da3("doctor", "--device", "cpu", "--json")
    assert (code, err) == (DONE, "")
    told = json.loads(out)
    assert told["ok"] is True
    assert (told["package"], told["device"], told["device_type"]) == (__version__, "cpu", "cpu")
    assert told["calibration"] == {
        "path": str(calibration.calibration_path(doctor.find_capabilities(CPU))),
        "date": None,
        "ignored": None,
        "rows": [],
    }
    assert {(one["input"], one["mode"]) for one in told["strategies"]} >= {
        ("JPEG 1920x1080", "single image"),
        ("PNG", "stream"),
        ("NumPy array", "stream"),
    }
    assert {one["strategy"] for one in told["strategies"]} == {"cpu"}
    (check,) = told["checks"]
    assert (check["strategy"], check["ok"], check["problem"]) == ("cpu", True, None)
    assert check["max_difference"] <= 1
    assert check["psnr_db"] > 50
    assert check["milliseconds"] > 0
    assert not cache.exists()


def test_a_device_that_is_not_there_is_misuse(da3):
    code, out, err = da3("doctor", "--device", "cuda:99")
    assert (code, out) == (MISUSE, "")
    assert err.startswith("error: --device cuda:99 cannot be used")


def test_calibrating_without_a_gpu_says_that_there_is_no_choice(da3, cache):
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert code == DONE
    assert err == "nothing to calibrate: the network is on the CPU\n"
    assert "all inputs" in out
    assert not cache.exists()


def test_a_strategy_set_by_the_environment_but_unavailable_is_a_failure(da3, monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "gpu_decode")
    code, out, err = da3("doctor", "--device", "cpu")
    assert (code, err) == (FAILURES, "")
    assert "gpu_decode (environment variable)" in out
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


def test_calibrating_stores_what_later_runs_use(da3, as_gpu, cache):
    machine = gpu_with("good")
    as_gpu(machine)
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert (code, err) == (DONE, "")
    assert "Calibration: ms per image" in out
    stored = calibration.load_costs(machine)
    assert stored.decoders == ("cpu", "good")
    as_gpu(replace(machine, costs=stored))
    _, out, _ = da3("doctor", "--device", "cpu", "--json")
    told = json.loads(out)
    assert len(told["calibration"]["rows"]) == 4
    assert next(iter(told["strategies"]))["reason"].startswith("measured: ")


def test_calibrating_with_decoders_that_do_not_run_stores_nothing(da3, as_gpu, cache):
    as_gpu(gpu_with("broken"))
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert code == FAILURES  # the self-check tells of it as well
    assert "broken does not run here" in " ".join(out.split())
    assert "no GPU decoder could be measured" in err
    assert not cache.exists()


def test_a_cache_folder_that_cannot_be_written_is_reported(da3, as_gpu, cache):
    cache.write_text("a file")
    as_gpu(gpu_with("good"))
    code, out, err = da3("doctor", "--device", "cpu", "--calibrate")
    assert (code, out) == (FAILURES, "")
    assert str(cache) in err
    assert "the calibration is not stored" in err


def test_a_gpu_report_fits_80_columns_and_names_strategies_and_reasons(as_gpu, monkeypatch):
    as_gpu(gpu_with("good", "nearest", coarse="nearest"))
    diagnosis = doctor.examine(CPU)
    text = printed(doctor_report.report(diagnosis, []))
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for told in (
        "good 1.0 (exact), nearest 1.0 (nearest chroma)",
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
    text = printed(doctor_report.report(diagnosis, [SelfCheck(Strategy.CPU, "[a]", True, problem="[b] is [/]")]))
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


# What the driver says


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_DRIVER_FILE", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def tool(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_driver_its_version_is_unknown(no_driver):
    assert doctor.driver_version() is None


@pytest.mark.skipif(sys.platform == "win32", reason="the tool's stand-in is a shell script")
def test_the_driver_is_what_its_tool_says(no_driver):
    tool(no_driver, "echo 580.65.06; echo 580.65.06")
    assert doctor.driver_version() == "580.65.06"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs)", "580.65.06"),
        ("NVRM version: unreadable", None),
    ],
)
@pytest.mark.parametrize("script", [None, "exit 9", "true"], ids=["no tool", "tool fails", "tool says nothing"])
def test_the_system_knows_the_driver_where_the_tool_does_not(no_driver, text, version, script):
    if script:
        tool(no_driver, script)
    doctor._DRIVER_FILE.write_text(text)
    assert doctor.driver_version() == version


def test_a_driver_that_torch_cannot_use_is_hinted_at(no_driver, monkeypatch):
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: False)
    doctor._DRIVER_FILE.write_text("Module 580.65.06")
    (hint,) = doctor.examine(CPU).hints
    assert "580.65.06" in hint
    assert "pytorch.org" in hint


def test_another_distribution_with_this_package_is_hinted_at(no_driver, monkeypatch):
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
    text = " ".join(printed(doctor_report.report(diagnosis, [])).split())
    assert "JPEG engines 0: libnvcuvid.so.1 of the NVIDIA driver cannot be loaded" in text
    (reason,) = {one.choice.reason for one in diagnosis.strategies if one.input == "JPEG 1920x1080"}
    assert reason.startswith(f"no hardware JPEG engine ({cause.cause})")
