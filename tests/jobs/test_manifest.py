"""The manifest of an export folder: resumed runs never keep a stale result."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.discover import find_images
from depth_anything_3.inputs.earlier_results import MANIFEST
from depth_anything_3.jobs.manifest import RECORDS, Manifest, SourceFile
from depth_anything_3.jobs.video.results import VideoResults
from support.clips import write_clip
from support.jobs import run_images, run_video, run_views
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}


def write_images(folder, seed, names=("a.png", "img.png")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, seeded_images_uint8(len(names), 42, 56, seed=seed), strict=True):
        Image.fromarray(image).save(folder / name)
    return [folder / name for name in names]


@pytest.fixture
def paths(tmp_path):
    return write_images(tmp_path / "A", seed=3)


def depth_in(path):
    with np.load(path) as file:
        return file["depth"]


def depth_of(model, path, **options):
    return np.round(model.depth([path], **{**SMALL, **options})[0].depth, 6)


def test_the_manifest_says_what_results_were_computed_from(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz-depth_png", **SMALL)
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["results"] == ["depth_png", "npz"]
    (run,) = manifest["runs"]
    expected = {"model": "da3-small", "process_res": 56, "exif": "apply", "export_format": "npz-depth_png"}
    assert run["settings"].items() >= expected.items()
    records = [json.loads(line) for line in (out / RECORDS).read_text().splitlines()]
    assert [one["name"] for one in records] == ["a", "img"]
    assert records[0]["sources"] == [
        {
            "path": str(paths[0]),
            "bytes": paths[0].stat().st_size,
            "modified": SourceFile.of(paths[0]).modified,
        }
    ]
    assert records[0]["outputs"] == ["npz/a.npz", "depth_png/a.png"]


def test_another_folder_with_the_same_names_is_computed(seeded_small, paths, tmp_path, caplog):
    others, out = write_images(tmp_path / "B", seed=4), tmp_path / "out"
    run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)
    report = run_images(seeded_small, others, out, "npz", resume=True, **SMALL)
    assert (report.images, report.skipped) == (2, 0)
    np.testing.assert_array_equal(depth_in(out / "npz" / "img.npz"), depth_of(seeded_small, others[1]))
    assert f"{others[0]}: replaced the results of {paths[0]}" in caplog.text


@pytest.mark.parametrize("touch", [False, True], ids=["other-size", "same-size"])
def test_a_changed_file_is_computed_anew(seeded_small, paths, tmp_path, touch):
    out = tmp_path / "out"
    for path in paths:
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    paths = [path.with_suffix(".bmp") for path in paths]
    run_images(seeded_small, paths, out, "npz", **SMALL)
    if touch:
        pixels = np.asarray(Image.open(paths[1]))
        Image.fromarray(255 - pixels).save(paths[1])
    else:
        Image.fromarray(seeded_images_uint8(1, 56, 42, seed=9)[0]).save(paths[1])
    report = run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)
    assert (report.images, report.skipped) == (1, 1)
    np.testing.assert_array_equal(depth_in(out / "npz" / "img.npz"), depth_of(seeded_small, paths[1]))


def test_a_moved_folder_is_not_computed_again(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    shutil.move(tmp_path / "A", tmp_path / "moved")
    moved = [tmp_path / "moved" / path.name for path in paths]
    assert run_images(seeded_small, moved, tmp_path / "out", "npz", resume=True, **SMALL).skipped == 2


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        pytest.param({"process_res": 42}, ["process_res=56, now 42"], id="size"),
        pytest.param({"exif": "ignore"}, ["exif=apply, now ignore"], id="exif"),
        pytest.param({"fidelity": "fast"}, ["fidelity=exact, now fast"], id="fidelity"),
        pytest.param({"use_ray_pose": True}, ["use_ray_pose=False, now True"], id="network"),
        pytest.param({"formats": "npz-ply"}, ["export_format=npz, now npz-ply"], id="formats"),
        pytest.param({"allow_truncated": True, "process_res": 42}, ["process_res", "allow_truncated"], id="two"),
    ],
)
def test_other_settings_are_refused_by_name_or_computed_with_overwrite(seeded_small, paths, tmp_path, changed, names):
    out = tmp_path / "out"
    run_images(seeded_small, paths[1:], out, "npz", **SMALL)
    before = (out / "npz" / "img.npz").read_bytes()
    options = {**SMALL, **changed}
    formats = options.pop("formats", "npz")
    with pytest.raises(InvalidInputError, match=r"img\.png were computed with other settings") as refused:
        run_images(seeded_small, paths, out, formats, resume=True, **options)
    assert all(name in str(refused.value) for name in names)
    assert (out / "npz" / "img.npz").read_bytes() == before
    assert not (out / "npz" / "a.npz").exists()
    report = run_images(seeded_small, paths, out, formats, resume=True, overwrite=True, **options)
    assert (report.images, report.skipped) == (2, 0)
    assert run_images(seeded_small, paths, out, formats, resume=True, **options).skipped == 2


def test_other_weights_of_the_same_model_are_other_settings(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    parameter = next(seeded_small.model.parameters())
    before = parameter.detach().clone()
    try:
        parameter.data += 0.01
        with pytest.raises(InvalidInputError, match="weights="):
            run_images(seeded_small, paths, tmp_path / "out", "npz", resume=True, **SMALL)
    finally:
        parameter.data.copy_(before)


def test_results_without_a_manifest_are_computed_again(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz", **SMALL)
    (out / MANIFEST).unlink()
    assert run_images(seeded_small, paths, out, "npz", resume=True, **{**SMALL, "process_res": 42}).images == 2
    assert len((out / RECORDS).read_text().splitlines()) == 2
    with pytest.raises(InvalidInputError, match="process_res=42, now 56"):
        run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)


def test_a_line_cut_off_by_a_power_failure_costs_one_image(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz", **SMALL)
    lines = (out / RECORDS).read_text()
    (out / RECORDS).write_text(lines[: len(lines) - 20])
    report = run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)
    assert (report.images, report.skipped) == (1, 1)
    assert run_images(seeded_small, paths, out, "npz", resume=True, **SMALL).skipped == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layout": 99, "results": [], "runs": []}'])
def test_a_damaged_manifest_is_named(seeded_small, paths, tmp_path, content):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz", **SMALL)
    (out / MANIFEST).write_text(content)
    with pytest.raises(InvalidInputError, match=rf"{MANIFEST}: .*delete it to compute everything anew"):
        run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)


def test_results_of_a_changed_file_in_other_formats_are_removed(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz-depth_png", **SMALL)
    write_images(tmp_path / "A", seed=5, names=["img.png"])
    run_images(seeded_small, paths, out, "npz", **SMALL)
    assert (out / "depth_png" / "a.png").exists()
    assert not (out / "depth_png" / "img.png").exists()


# Scenes


def test_a_scene_is_resumed_and_its_views_are_named(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_views(seeded_small, paths, out, "npz-depth_vis", **SMALL)
    views = json.loads((out / "views.json").read_text())
    assert [(one["view"], one["name"], one["source"]) for one in views] == [
        ("0000", "a.png", str(paths[0])),
        ("0001", "img.png", str(paths[1])),
    ]
    with np.load(out / "exports" / "npz" / "results.npz") as file:
        assert list(file["names"]) == ["a.png", "img.png"]
    again = run_views(seeded_small, paths, out, "npz-depth_vis", resume=True, **SMALL)
    assert (again.images, again.skipped) == (0, 2)
    with pytest.raises(InvalidInputError, match=r"the scene were computed .*process_res=56, now 42"):
        run_views(seeded_small, paths, out, "npz-depth_vis", resume=True, process_res=42)
    assert run_views(seeded_small, paths[::-1], out, "npz-depth_vis", resume=True, **SMALL).images == 2


def test_a_smaller_scene_leaves_no_views_of_the_earlier_one(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_views(seeded_small, paths, out, "npz-depth_vis", **SMALL)
    (out / "depth_vis" / "mine.jpg").touch()
    run_views(seeded_small, paths[:1], out, "depth_vis", **SMALL)
    files = sorted(one.relative_to(out).as_posix() for one in out.rglob("*.*") if "manifest" not in one.name)
    assert files == ["depth_vis/0000.jpg", "depth_vis/mine.jpg", "views.json"]


def test_a_scene_and_images_of_one_folder_do_not_remove_each_others_files(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, [paths[0].rename(paths[0].with_name("0000.png"))], out, "depth_vis", **SMALL)
    run_views(seeded_small, paths[1:], out, "depth_vis", **SMALL)
    run_views(seeded_small, paths[1:], out, "npz", **SMALL)
    assert (out / "depth_vis" / "0000.jpg").exists()


# Videos


def test_a_shorter_selection_of_a_video_leaves_no_frames_of_the_earlier_one(seeded_small, tmp_path):
    clip, out = write_clip(tmp_path / "a clip.mp4", 6), tmp_path / "out"
    frames = VideoResults(formats="mini_npz")
    run_video(seeded_small, clip, out, frames, process_res=42)
    assert len(list((out / "mini_npz").iterdir())) == 6
    run_video(seeded_small, clip, out, frames, process_res=42, every=3)
    assert sorted(os.listdir(out / "mini_npz")) == ["a clip_000000.npz", "a clip_000001.npz"]


def test_a_changed_video_starts_anew(seeded_small, tmp_path):
    clip, out = write_clip(tmp_path / "a.mp4", 4), tmp_path / "out"
    assert run_video(seeded_small, clip, out, process_res=42).images == 4
    assert run_video(seeded_small, clip, out, resume=True, process_res=42).skipped == 4
    write_clip(clip, 6)
    report = run_video(seeded_small, clip, out, resume=True, process_res=42)
    assert (report.images, report.skipped) == (6, 0)


def test_an_image_and_a_video_of_one_name_keep_their_results(seeded_small, paths, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, paths[:1], out, "npz", **SMALL)
    run_video(seeded_small, write_clip(tmp_path / "a.mp4", 2), out, process_res=42)
    assert (out / "npz" / "a.npz").exists()
    assert run_images(seeded_small, paths[:1], out, "npz", resume=True, **SMALL).skipped == 1


# Results are not input


def test_results_of_earlier_runs_are_not_input(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "A" / "out", "depth_png-depth_vis", **SMALL)
    run_images(seeded_small, paths, tmp_path / "A", "depth_png", **SMALL)
    for source in (tmp_path, tmp_path / "A", tmp_path / "**/*.png"):
        assert find_images([str(source)], recursive=True) == paths
    with pytest.raises(InvalidInputError, match="results of earlier runs are not input"):
        find_images([str(tmp_path / "A" / "out")], recursive=True)
    with pytest.raises(InvalidInputError, match="results of earlier runs are not input"):
        find_images([str(tmp_path / "A" / "out" / "depth_vis")])


def test_results_without_a_source_stay_listed(tmp_path):
    for name in ("npz", "ply"):
        Manifest(tmp_path).add_results([tmp_path / name / "a"])
    assert Manifest(tmp_path).results == ("npz", "ply")


def test_a_manifest_of_another_program_hides_nothing(paths, tmp_path):
    for content in ('{"results": ["a.png"]}', "no json", "[1]"):
        (tmp_path / "A" / MANIFEST).write_text(content)
        assert find_images([str(tmp_path / "A")]) == paths
    assert Manifest(tmp_path / "none").record("image", "a") is None
