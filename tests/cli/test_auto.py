"""`da3 auto` and upstream's flags: the same command line as upstream's, the same meaning."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from support.clips import write_clip
from support.colmap_workspace import SIZE, write_workspace
from support.command import DONE, FAILURES, MISUSE, files_in

SCENE = ["depth_vis/0000.jpg", "depth_vis/0001.jpg", "report.json", "scene.glb", "scene.jpg", "views.json"]


@pytest.fixture
def room(photos, tmp_path):
    """Two views."""
    (tmp_path / "room").mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(photos / name, tmp_path / "room" / name)
    return tmp_path / "room"


def results(out):
    with np.load(out / "exports" / "npz" / "results.npz") as file:
        return dict(file)


def test_a_folder_is_one_scene(da3, room, tmp_path):
    run = da3("auto", room, "--process-res", 56, "--export-dir", tmp_path / "out", "--index")
    assert (run.code, run.err) == (DONE, "")
    assert files_in(tmp_path / "out") == sorted([*SCENE, "index.html"])


def test_the_views_of_a_folder_are_those_of_inference(da3, room, tmp_path, seeded_small):
    da3("auto", room, "--process-res", 56, "--export-dir", tmp_path / "out", "--export-format", "npz")
    written = results(tmp_path / "out")
    expected = seeded_small.inference(sorted(room.iterdir()), process_res=56)
    np.testing.assert_array_equal(written["depth"], np.round(expected.depth, 6))
    np.testing.assert_array_equal(written["extrinsics"], expected.extrinsics)
    assert list(written["names"]) == ["a.png", "c.png"]


def test_several_images_are_one_scene_too(da3, room, tmp_path):
    da3("auto", *sorted(room.iterdir()), "--process-res", 56, "--export-dir", tmp_path / "out")
    assert files_in(tmp_path / "out") == SCENE


def test_one_image_is_a_scene_of_one(da3, room, tmp_path):
    assert da3("auto", room / "a.png", "--process-res", 56, "--export-dir", tmp_path / "out").code == DONE
    assert files_in(tmp_path / "out") == ["depth_vis/0000.jpg", "scene.glb", "scene.jpg", "views.json"]


@pytest.mark.parametrize(("flags", "views"), [([], 2), (["--fps", 4], 8), (["--every", 4], 4)])
def test_a_video_is_a_scene_of_one_frame_a_second(da3, tmp_path, flags, views):
    clip = write_clip(tmp_path / "film.mp4", 16, fps=8)
    line = ("--process-res", 42, "--export-dir", tmp_path / "out", "--export-format", "npz")
    run = da3("auto", clip, *line, *flags)
    assert run.code == DONE
    assert f"{clip}: a video" in run.err
    assert len(results(tmp_path / "out")["depth"]) == views


def test_a_colmap_workspace_is_computed_with_its_cameras(da3, tmp_path):
    (tmp_path / "workspace").mkdir()
    workspace, out = write_workspace(tmp_path / "workspace"), tmp_path / "out"
    line = ("--process-res", 112, "--export-dir", out, "--export-format", "npz", "--sparse-subdir", "0")
    run = da3("auto", workspace, *line, "--align-to-input-ext-scale")
    assert run.code == DONE
    written = results(out)
    assert written["depth"].shape == (3, *SIZE)
    np.testing.assert_allclose(written["extrinsics"][:, :, 3], [[0, 0, 0], [5, 0, 1], [0, 5, 0]], atol=1e-6)
    aligned = written["depth"]
    da3("auto", workspace, *line, "--no-align-to-input-ext-scale")
    assert not np.allclose(results(out)["depth"], aligned)


def test_a_model_without_cameras_writes_depth(da3, room, tmp_path):
    run = da3("auto", room, "--model-dir", "da3-nano", "--process-res", 56, "--export-dir", tmp_path / "out")
    assert run.code == DONE
    assert "da3-nano predicts no cameras for glb: writing depth_vis-npz" in run.err
    assert "exports/npz/results.npz" in files_in(tmp_path / "out")


@pytest.mark.parametrize("command", ["auto", "image", "images", "colmap", "video"])
def test_every_command_takes_upstreams_flags(da3, room, tmp_path, small_checkpoint, command):
    source = {
        "auto": room,
        "image": room / "a.png",
        "images": room,
        "colmap": tmp_path / "workspace",
        "video": tmp_path / "film.mp4",
    }[command]
    if command == "colmap":
        source.mkdir()
        write_workspace(source)
    elif command == "video":
        write_clip(source, 2)
    out = tmp_path / "out"
    run = da3(
        *(command, source, "--model-dir", small_checkpoint, "--export-dir", out, "--export-format", "npz"),
        *("--device", "cpu", "--no-use-backend", "--backend-url", "http://localhost:8008", "--process-res", 112),
        *("--process-res-method", "upper_bound_resize", "--export-feat", "", "--auto-cleanup", "--no-use-ray-pose"),
        *("--ref-view-strategy", "saddle_balanced", "--conf-thresh-percentile", 40, "--num-max-points", 1000),
        *("--show-cameras", "--feat-vis-fps", 15),
        *(["--fps", 1.0] if command in ("auto", "video") else []),
        *(["--image-extensions", "png,jpg"] if command == "images" else []),
        *(["--scene"] if command in ("video", "images") else []),
    )
    assert run.code == DONE, run.err
    assert any(name.endswith(".npz") for name in files_in(out))


def test_auto_cleanup_removes_results_of_earlier_runs_only(da3, room, tmp_path):
    out = tmp_path / "out"
    line = ("--process-res", 56, "--export-dir", out)
    da3("auto", room, *line)
    (out / "depth_vis" / "mine.jpg").touch()
    (out / "notes.txt").touch()
    (room / "c.png").unlink()
    da3("auto", room, *line, "--export-format", "npz", "--auto-cleanup")
    kept = ["depth_vis/mine.jpg", "exports/npz/results.npz", "notes.txt", "report.json", "views.json"]
    assert files_in(out) == kept
    assert da3("images", room, *line, "--resume", "--auto-cleanup").code == MISUSE
    assert files_in(out) == kept


def test_a_missing_source_is_named(da3, tmp_path):
    run = da3("auto", tmp_path / "none.jpg", "--export-dir", tmp_path / "out")
    assert run.code == FAILURES
    assert f"{tmp_path / 'none.jpg'}: no such file" in run.err
