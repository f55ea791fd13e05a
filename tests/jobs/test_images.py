"""Jobs over images: names of results and the report."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from depth_anything_3.errors import ExportError, ImageDecodeError, InvalidInputError
from depth_anything_3.inputs.discover import find_images
from depth_anything_3.jobs.naming import export_names
from support.jobs import run_images, run_views
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}


# How results are called


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        pytest.param(["a.jpg", "b.jpg"], ["a", "b"], id="stems"),
        pytest.param(["x/a.jpg", "y/b.jpg"], ["a", "b"], id="stems-of-two-folders"),
        pytest.param(["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"], id="same-stem"),
        pytest.param(["x/a.jpg", "y/a.jpg", "b.jpg"], ["x_a.jpg", "y_a.jpg", "b"], id="same-name"),
        pytest.param(["../x/a.jpg", "x/a.jpg"], ["x_a.jpg", "x_a.jpg_2"], id="above-and-here"),
        pytest.param(["x_y/a.jpg", "x/y_a.jpg", "y/a.jpg"], ["x_y_a.jpg", "y_a", "y_a.jpg"], id="joined-alike"),
        pytest.param(["x/a.jpg", "x/a.png", "y/a.jpg.tif"], ["a.jpg", "a.png", "a.jpg_2"], id="two-suffixes"),
    ],
)
def test_results_are_named_by_the_shortest_distinct_part_of_the_path(paths, names):
    assert export_names([Path(path) for path in paths]) == names


def test_images_on_other_drives_get_names_too(monkeypatch):
    def other_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert export_names([Path("/a/x.jpg"), Path("/b/x.jpg")]) == ["a_x.jpg", "b_x.jpg"]


@pytest.mark.parametrize("letter", ["x", "é", "深"])
def test_a_name_made_of_a_long_path_can_be_a_files_name(letter):
    deep = Path(*[letter * 60] * 5)
    names = export_names([deep / "x" / "a.jpg", deep / "y" / "a.jpg", deep / letter / "y" / "a.jpg"])
    assert len(set(names)) == 3
    assert all(len(os.fsencode(name)) <= 210 for name in names)
    assert all(name.split("_")[-1] in ("a.jpg", "2") for name in names)


words = st.sampled_from(["a", "b", "a_b", "a.jpg", "..", "b_2"])


@given(st.lists(st.builds(lambda parts, end: Path(*parts, end), st.lists(words, max_size=3), words), unique=True))
@settings(deadline=None)
def test_no_two_images_share_a_name(paths):
    names = export_names(paths)
    assert len(set(names)) == len(names) == len(paths)
    assert not any(os.sep in name for name in names)


# Runs


@pytest.fixture(scope="module")
def images():
    return seeded_images_uint8(3, 42, 56, seed=3)


@pytest.fixture
def folder(images, tmp_path):
    """Three images, the second of them damaged, and an empty file."""
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "3.png").write_bytes(b"")
    return tmp_path


def test_a_run_over_images_writes_one_result_each_and_reports_the_rest(seeded_small, images, folder):
    steps = []
    report = run_images(
        seeded_small,
        find_images([str(folder)], "png"),
        folder / "out",
        "npz-depth_png",
        on_progress=lambda: steps.append(1),
        on_error="skip",
        **SMALL,
    )
    assert report.images == 2
    assert len(steps) == 4
    assert [one["image"] for one in report.failures] == [str(folder / "1.png"), str(folder / "3.png")]
    assert all(one["error"].startswith(one["image"]) for one in report.failures)
    assert sorted(path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*.*")) == [
        "depth_png/0.png",
        "depth_png/2.png",
        "npz/0.npz",
        "npz/2.npz",
    ]
    with np.load(folder / "out" / "npz" / "2.npz") as file:
        alone = seeded_small.inference([images[2]], **SMALL)
        np.testing.assert_array_equal(file["depth"], np.round(alone.depth, 6))


def test_a_report_adds_up(seeded_small, folder):
    report = run_images(seeded_small, [folder / "0.png", folder / "2.png"], folder / "out", "npz", **SMALL)
    assert report.stage_seconds.keys() == {"decode", "resample", "network", "export"}
    assert all(0 < report.stage_seconds[stage] <= report.wall_seconds for stage in ("network", "export"))
    assert report.images_per_second == pytest.approx(2 / report.wall_seconds)
    assert report.as_dict() == {
        "images": 2,
        "skipped": 0,
        "focal_lengths": {},
        "failures": [],
        "wall_seconds": report.wall_seconds,
        "stage_seconds": report.stage_seconds,
        "export_dir": str(folder / "out"),
        "strategies": {"cpu": {"the network is on the CPU": 2}},
        "device": "cpu",
        "network": "da3-small",
        "stopped_by": None,
        "images_per_second": report.images_per_second,
    }


def test_a_run_that_stops_at_an_error_keeps_what_was_written_before(seeded_small, folder):
    paths = find_images([str(folder)], "png")
    with pytest.raises(ImageDecodeError, match=r"1\.png"):
        run_images(seeded_small, paths, folder / "out", "npz", batch_size=4, **SMALL)
    assert [path.name for path in (folder / "out" / "npz").iterdir()] == ["0.npz"]


def test_a_run_that_cannot_write_says_where(seeded_small, folder):
    (folder / "out").write_text("not a folder")
    with pytest.raises(ExportError, match=r"out/npz/0\.npz: cannot be written"):
        run_images(seeded_small, [folder / "0.png"], folder / "out", "npz", **SMALL)


def test_images_of_one_name_do_not_overwrite_each_other(seeded_small, images, tmp_path):
    for name, image in zip(("x", "y"), images, strict=False):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "a.png")
    run_images(seeded_small, [tmp_path / name / "a.png" for name in ("x", "y")], tmp_path / "out", "npz", **SMALL)
    written = [np.load(path)["depth"] for path in sorted((tmp_path / "out" / "npz").iterdir())]
    assert len(written) == 2
    assert not np.array_equal(*written)


def test_a_scene_is_written_as_one_and_its_missing_views_are_reported(seeded_small, folder):
    paths = find_images([str(folder)], "png")
    report = run_views(seeded_small, paths, folder / "out", "npz", on_error="skip", **SMALL)
    assert report.images == 2
    assert [one["image"] for one in report.failures] == [str(folder / "1.png"), str(folder / "3.png")]
    assert report.stage_seconds.keys() == {"decode", "resample", "network", "export"}
    with np.load(folder / "out" / "exports" / "npz" / "results.npz") as file:
        expected = seeded_small.inference([folder / "0.png", folder / "2.png"], **SMALL)
        np.testing.assert_array_equal(file["depth"], np.round(expected.depth, 6))


@pytest.mark.parametrize("run", [run_images, run_views])
def test_an_unknown_format_is_refused_before_anything_is_read(seeded_small, tmp_path, run):
    with pytest.raises(InvalidInputError, match="'obj' is unknown"):
        run(seeded_small, [tmp_path / "missing.png"], tmp_path / "out", "npz-obj")
    assert not (tmp_path / "out").exists()
