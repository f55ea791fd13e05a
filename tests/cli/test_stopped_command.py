"""`da3 images` as a process that is stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.command import DONE, Run
from support.run_state import files_in, wait_until
from support.seeded_values import seeded_images_uint8

FORMATS = "mini_npz-npz-depth_png-depth_vis"
IMAGES = 20  # so many that a run is not over before a signal reaches it


@pytest.fixture
def words(small_checkpoint, tmp_path) -> list[str]:
    """The words of `da3 images --resume` over images in two folders, but for the folder of its results."""
    for index, image in enumerate(seeded_images_uint8(IMAGES, 42, 56, seed=3)):
        path = tmp_path / "photos" / f"{index % 2}" / f"{index // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    line = ["images", tmp_path / "photos", "--recursive", "--resume", "--json", "--device", "cpu"]
    line += ["--model-dir", small_checkpoint, "--process-res", "98", "--export-format", FORMATS, "--export-dir"]
    return [str(word) for word in line]


@pytest.fixture
def start(words):
    """Starts the command as a process of its own."""
    command = shutil.which("da3", path=os.fspath(Path(sys.executable).parent))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started: list[subprocess.Popen[str]] = []

    def begin(out: Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([command, *words, str(out)], stdout=pipe, stderr=pipe, text=True, env=env))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def results_in(out: Path) -> dict[str, int]:
    """The files that have their names, and when each was written."""
    found = files_in(out) if out.is_dir() else {}
    return {name: at for name, at in found.items() if "/." not in name and name != "report.json"}


def complete_images(files: Collection[str]) -> set[str]:
    """The images of which every file is there."""
    of_kind = [
        {os.path.splitext(name)[0].partition("/")[2] for name in files if name.startswith(f"{kind}/")}
        for kind in FORMATS.split("-")
    ]
    return set.intersection(*of_kind)


def read_to_the_end(path: Path) -> None:
    if path.suffix == ".npz":
        with np.load(path) as file:
            assert all(np.isfinite(file[key]).all() for key in file if key != "names")
    else:
        with Image.open(path) as image:
            image.load()


def kill_at_random(process: subprocess.Popen[str], out: Path, moments: random.Random, *, within: int) -> None:
    """SIGKILL when up to as many files more are there."""
    enough = len(results_in(out)) + moments.randint(1, within)
    wait_until(lambda: len(results_in(out)) >= enough or process.poll() is not None)
    time.sleep(moments.uniform(0, 0.01))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def ended_whole(last: Run, out: Path, before: dict[str, int]) -> None:
    """The last run, which `before` was there before, has lost, doubled and left half written nothing."""
    assert (last.code, last.err) == (DONE, "")
    report = json.loads(last.out)
    assert report["images"] + report["skipped"] == IMAGES
    assert json.loads((out / "report.json").read_text()) == report
    after = results_in(out)
    assert files_in(out).keys() == {*after, "report.json"}  # nothing half written is left
    assert (len(after), len(complete_images(after))) == (4 * IMAGES, IMAGES)
    for name in after:
        read_to_the_end(out / name)
    unchanged = {name for name, at in before.items() if after[name] == at}
    # An image whose last file was written just before the kill may not be in the manifest yet.
    assert report["skipped"] == len(complete_images(unchanged))
    assert report["skipped"] in (len(complete_images(before)), len(complete_images(before)) - 1)


STOPS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]


def stopped(start, out: Path, number: signal.Signals) -> tuple[int, str, str]:
    """Exit code and output of a run that got a signal at its first result; begun anew if it had ended before."""
    for _ in range(5):
        process = start(out)
        wait_until(lambda ended=process.poll: results_in(out) or ended() is not None)
        process.send_signal(number)
        printed, errors = process.communicate()
        if process.returncode != 0:
            break
        shutil.rmtree(out)
    return process.returncode, printed, errors


def test_a_stopped_command_leaves_whole_files_and_resumes_even_if_killed(start, da3, words, tmp_path):
    """Stopped and killed as a process; the last run is in this process."""
    out, (number, code, by) = tmp_path / "out", STOPS[0]
    ended, printed, line = stopped(start, out, number)
    assert (ended, printed) == (code, "")
    report, results = json.loads((out / "report.json").read_text()), results_in(out)
    assert report["stopped_by"] == by
    assert 0 < report["images"] == len(complete_images(results)) < IMAGES
    assert files_in(out).keys() == {*results, "report.json"}
    assert len(results) == 4 * report["images"]
    assert line.startswith(f"Stopped after {report['images']} of {IMAGES} images; results so far are complete. ")
    assert line.endswith(f" --export-dir {out}\n")
    kill_at_random(start(out), out, random.Random(1), within=max(1, (4 * IMAGES - len(results)) // 4))
    before = results_in(out)
    ended_whole(da3(*words, out), out, before)


@pytest.mark.slow
def test_a_run_killed_ten_times_loses_and_doubles_nothing(start, da3, words, tmp_path):
    out, moments = tmp_path / "out", random.Random(10)
    for _ in range(10):
        kill_at_random(start(out), out, moments, within=4)
    before = results_in(out)
    ended_whole(da3(*words, out), out, before)


@pytest.mark.slow
def test_signals_at_random_moments_leave_whole_files_and_true_reports(start, tmp_path):
    out, moments = tmp_path / "out", random.Random(3)
    for turn in range(8):
        number, code, reason = STOPS[turn % 2]
        before, process = len(complete_images(results_in(out))), start(out)
        time.sleep(moments.uniform(1.0, 8.0))  # from within its imports to the middle of the run
        process.send_signal(number)
        printed, errors = process.communicate()
        results = results_in(out)
        assert "Traceback" not in errors or ", in main\n" not in errors  # before main, Python itself ends it
        assert files_in(out).keys() <= {*results, "report.json"} if out.exists() else True
        assert 4 * len(complete_images(results)) == len(results)
        if printed:  # it was quicker, if not with ending
            assert len(complete_images(results)) == IMAGES
        else:
            assert process.returncode in (code, -number)  # before it has begun, the system ends it
        if (out / "report.json").exists() and len(complete_images(results)) > before:
            report = json.loads((out / "report.json").read_text())
            assert report["images"] + report["skipped"] == len(complete_images(results))
            assert report["stopped_by"] in (None, reason)
    process = start(out)
    process.communicate()
    assert process.returncode == 0
    assert len(complete_images(results_in(out))) == IMAGES
