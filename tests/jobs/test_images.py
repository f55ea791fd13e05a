"""Jobs over images: names of results and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, ImageDecodeError, InvalidInputError
from depth_anything_3.inputs.discover import find_images
from support.command import files_in
from support.jobs import run_images, run_views
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}


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
        on_progress=lambda _: steps.append(1),
        on_error="skip",
        **SMALL,
    )
    assert report.images == 2
    assert len(steps) == 4
    assert [one["image"] for one in report.failures] == [str(folder / "1.png"), str(folder / "3.png")]
    assert all(one["error"].startswith(one["image"]) for one in report.failures)
    assert files_in(folder / "out") == ["depth_png/0.png", "depth_png/2.png", "npz/0.npz", "npz/2.npz"]
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
        "records": report.as_dict()["records"],
        "images_per_second": report.images_per_second,
        "left": {},
        "shard": None,
        "total": 2,
        "is_streamed": False,
        "began": report.began,
        "ended": report.ended,
    }


def test_the_report_has_one_record_an_image(seeded_small, folder):
    out = folder / "out"
    paths = [folder / f"{index}.png" for index in range(4)]
    run_images(seeded_small, paths[:1], out, "npz-depth_png", **SMALL)
    report = run_images(
        seeded_small,
        paths,
        out,
        "npz-depth_png",
        resume=True,
        on_error="skip",
        report_file=out / "report.json",
        **SMALL,
    )
    records = json.loads((out / "report.json").read_text())["records"]
    assert records == report.as_dict()["records"]
    assert [one["source"] for one in records] == [str(path) for path in paths]
    assert [one["status"] for one in records] == ["skipped", "failed", "written", "failed"]
    written = records[2]
    assert written["outputs"] == [str(out / "npz" / "2.npz"), str(out / "depth_png" / "2.png")]
    assert (written["size"], written["strategy"]) == ([42, 56], "cpu")
    assert written["reason"] == "the network is on the CPU"
    assert written["seconds"].keys() == {"decode", "resample", "network", "export"}
    assert all(isinstance(one, float) for one in written["seconds"].values())
    assert records[1]["error_class"] == "ImageDecodeError"
    assert records[1]["error"].startswith(f"{paths[1]}: ")


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
