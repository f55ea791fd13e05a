"""The `da3` command: what it writes, prints and exits with.

`da3 demo` runs as a process, the others in this process; test_stopped_command.py has `da3 images` as a process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from depth_anything_3 import __version__
from depth_anything_3.cli.images import images
from depth_anything_3.cli.messages import flags_of, in_flags
from support.command import DONE, FAILURES, Run, files_in

# What is computed


def test_da3_image_writes_depth_and_a_summary(da3, photos, tmp_path):
    out = tmp_path / "out"
    run = da3("image", photos / "a.png", "--device", "cpu", "--process-res", 98, "--export-dir", out)
    assert (run.code, run.err) == (DONE, "")
    assert files_in(out) == ["depth_vis/a.jpg", "npz/a.npz"]
    first, second, third = run.out.splitlines()
    assert first.startswith("1 image(s) in ")
    assert first.endswith(f" on cpu; written to {out}")
    assert second.startswith("ms per image: decode ")
    assert third == "strategy: cpu 1"


def test_da3_images_skips_a_damaged_image_and_reports_as_json(da3, photos, tmp_path):
    out = tmp_path / "out"
    options = ["--device", "cpu", "--process-res", 98, "--json", "--batch-size", 2, "--export-dir", out]
    run = da3("images", photos, *options)
    assert run.code == FAILURES
    assert files_in(out) == ["depth_vis/a.jpg", "depth_vis/c.jpg", "npz/a.npz", "npz/c.npz", "report.json"]
    report = json.loads(run.out)
    assert json.loads((out / "report.json").read_text()) == report
    assert report["images"] == 2
    assert (report["device"], report["network"], report["export_dir"]) == ("cpu", "da3-small", str(out))
    assert report["images_per_second"] == pytest.approx(2 / report["wall_seconds"])
    (failure,) = report["failures"]
    assert failure["image"] == str(photos / "b.png")
    (line,) = run.err.splitlines()
    assert line == f"failed: {in_flags(failure['error'], flags_of([images]))}"
    assert line.startswith(f"failed: {photos / 'b.png'}: truncated PNG")
    assert line.endswith("Copy it again. To decode its intact part, pass --allow-truncated")  # it is skipped already


def test_da3_images_takes_several_files_as_independent_images(da3, photos, tmp_path):
    out = tmp_path / "out"
    options = ["--device", "cpu", "--process-res", 98, "--export-format", "depth_png", "--export-dir", out]
    run = da3("images", photos / "a.png", photos / "c.png", *options)
    assert (run.code, run.err) == (DONE, "")
    assert files_in(out) == ["depth_png/a.png", "depth_png/c.png", "report.json"]
    assert run.out.startswith("2 image(s) in ")


def test_da3_demo_takes_images_with_the_model_in_the_package(photos, tmp_path):
    command, out = shutil.which("da3", path=os.fspath(Path(sys.executable).parent)), tmp_path / "out"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    line = [command, "demo", photos / "a.png", photos / "b.png", "--export-dir", out]
    run = subprocess.run(line, capture_output=True, text=True, env=env, check=False)
    assert run.returncode == FAILURES  # of one of two, which does not stop the other
    notice, failed = run.stderr.splitlines()
    assert notice.startswith("warning da3-nano is a demonstration: ")
    assert notice.endswith("for real use, pass --model-dir da3-small")
    assert failed.startswith(f"failed: {photos / 'b.png'}: truncated PNG")
    assert files_in(out) == ["depth/a.jpg", "glb/a.glb", "overview.jpg", "ply/a.ply"]
    head, _, row, lens, where, whole, summary, stages, _ = (line for line in run.stdout.splitlines() if line.strip())
    assert head.split() == ["image", "size", "decode", "+", "resize", "network"]
    assert re.fullmatch(r" *a +84x56 +\d+ ms +\d+ ms *", row)
    assert lens == "no focal length in EXIF; 3D points assume a field of view of 60 degrees along the longer side: a"
    assert where == f"overview: {out}/overview.jpg; each image: depth/, ply/ and glb/ in the same folder"
    assert whole.endswith(" s including start-up; without start-up:")
    assert summary.startswith("1 image(s) in ")
    assert stages.startswith("ms per image: decode ")


def test_da3_demo_alone_compares_three_images_with_their_true_depth(da3, tmp_path):
    run = da3("demo", "--device", "cpu", "--export-dir", tmp_path)
    assert run.code == DONE
    head, _, *rows = (line for line in run.out.splitlines() if line.strip())
    assert head.split()[-3:] == ["depth", "error", "(AbsRel)"]
    for name, row in zip(("street", "table", "hall"), rows, strict=False):
        assert re.fullmatch(rf" *{name} +3840x2160 +\d+ ms +\d+ ms +\d+\.\d% *", row)
    assert files_in(tmp_path / "depth") == ["hall.jpg", "street.jpg", "table.jpg"]
    assert "focal length" not in run.out  # it is in the files


def test_a_folder_gets_a_page_which_da3_index_writes_again(da3, photos, tmp_path):
    line = ("images", photos, "--process-res", 56, "--device", "cpu", "--export-dir", tmp_path, "--index")
    first = da3(*line)
    assert (first.code, first.out.splitlines()[-1]) == (FAILURES, f"index: {tmp_path / 'index.html'}")
    page = (tmp_path / "index.html").read_text()
    assert da3(*line, "--skip-existing").out.startswith("0 image(s) in ")
    (tmp_path / "index.html").unlink()
    run = da3("index", tmp_path)
    assert (run.code, run.out) == (DONE, f"{tmp_path / 'index.html'}\n")
    assert (tmp_path / "index.html").read_text() == page
    assert all(name in page for name in ("depth_vis/a.jpg", "npz/c.npz", "truncated PNG"))


# Layout of results


@pytest.mark.parametrize("command", ["images", "auto"])
def test_scene_writes_upstreams_layout_and_lists_missing_views(da3, photos, tmp_path, command):
    run = da3(command, photos, "--scene", "--process-res", 56, "--export-dir", tmp_path, "--export-format", "npz")
    assert run.code == FAILURES
    assert files_in(tmp_path) == ["exports/npz/results.npz", "report.json", "views.json"]
    with np.load(tmp_path / "exports" / "npz" / "results.npz") as file:
        assert file["depth"].shape == (2, 42, 56)
    assert run.err.startswith(f"failed: {photos / 'b.png'}: ")
    assert run.out.startswith("2 image(s) in ")
    assert ", 1 failed; written to" in run.out


def test_auto_takes_one_file_as_a_scene_of_one_as_upstream(da3, photos, tmp_path):
    assert da3("auto", photos / "a.png", "--process-res", 56, "--export-dir", tmp_path).code == DONE
    assert files_in(tmp_path) == ["depth_vis/0000.jpg", "scene.glb", "scene.jpg", "views.json"]


def test_resume_skips_what_is_there_and_tries_again_what_failed(da3, photos, tmp_path):
    line = ("images", photos, "--process-res", 56, "--export-dir", tmp_path, "--export-format", "npz")
    da3("images", photos / "a.png", *line[2:])
    run = da3(*line, "--resume")
    assert run.code == FAILURES
    assert run.out.startswith("1 image(s) in ")
    assert f" on cpu, 1 already done, 1 failed; written to {tmp_path}\n" in run.out
    run = da3(*line, "--resume", "--json")
    report = json.loads(run.out)
    assert (run.code, report["images"], report["skipped"], len(report["failures"])) == (FAILURES, 0, 2, 1)


@pytest.mark.parametrize(
    ("flags", "size"), [((), 224), (("--process-res", 56), 56), (("--scene",), 224)], ids=["model", "given", "scene"]
)
def test_da3_nano_takes_its_best_size_and_says_once_what_it_is(da3, photos, tmp_path, flags, size):
    line = ("images", photos / "a.png", photos / "c.png", "--model-dir", "da3-nano", "--device", "cpu", *flags)
    run = da3(*line, "--export-dir", tmp_path, "--export-format", "npz", "--json")
    assert (run.code, json.loads(run.out)["images"]) == (DONE, 2)
    assert run.err.splitlines() == [
        "warning da3-nano is a demonstration: a small network, trained on rendered scenes only; for real use, pass "
        "--model-dir da3-small"
    ]
    (settings,) = (one["settings"] for one in json.loads((tmp_path / "manifest.json").read_text())["runs"])
    assert settings["process_res"] == size


def test_quiet_da3_nano_says_nothing(da3, photos, tmp_path):
    run = da3("images", photos / "a.png", "--model-dir", "da3-nano", "--device", "cpu", "--export-dir", tmp_path, "-q")
    assert (run.code, run.out, run.err) == (DONE, "", "")


def test_results_go_to_the_folder_debug_by_default(da3, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert da3("images", photos / "a.png", "--process-res", 56).code == DONE
    assert files_in(tmp_path) == ["debug/depth_vis/a.jpg", "debug/npz/a.npz", "debug/report.json"]


def test_every_option_is_passed_on(da3, photos, tmp_path):
    shutil.copy(photos / "a.png", tmp_path / "a.scan")
    run = da3(
        *("images", tmp_path, "--image-extensions", "scan", "--export-dir", tmp_path, "--export-format", "npz"),
        *("--device", "cpu", "--dtype", "bfloat16", "--process-res", 56, "--process-res-method", "lower_bound_crop"),
        *("--batch-size", 2, "--num-workers", 1, "--on-error", "raise", "--exif", "ignore"),
        *("--use-ray-pose", "--auto-cleanup"),
    )
    assert (run.code, run.err) == (DONE, "")
    with np.load(tmp_path / "npz" / "a.npz") as file:
        assert file["depth"].shape == (1, 56, 84)


# Which images


def test_images_come_from_folders_below_patterns_and_lists(da3, photos, tmp_path, monkeypatch):
    for name in ("x/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(photos / "a.png", tmp_path / name)
    (tmp_path / "list.txt").write_text("x/a.png\ny/a.png\n")
    monkeypatch.chdir(tmp_path)
    options = ("--process-res", 56, "--export-format", "depth_png", "--export-dir")
    written = ["depth_png/x/a.png", "depth_png/y/a.png", "report.json"]
    for source in (["@list.txt"], ["**/*.png"], [".", "--recursive"]):  # the results before are no images
        run = da3("images", *source, *options, "out")
        assert (run.code, run.err) == (DONE, "")
        assert files_in(tmp_path / "out") == written
    run = da3("images", ".", *options, "out", "--recursive", "--resume")
    assert run.out.startswith("0 image(s) in ")
    assert "2 already done" in run.out


# Help


def test_version_is_the_packages(da3):
    assert da3("--version") == Run(DONE, f"da3 {__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["images", "--help"], ["demo", "-h"]], ids=" ".join)
def test_help_is_there(da3, words):
    run = da3(*words)
    assert (run.code, run.err) == (DONE, "")
    assert "Usage: " in run.out
