"""Runs that end early, and the runs that go on with them: nothing is lost, doubled or half written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.batch_run import run_images
from depth_anything_3.errors import ExportError, ImageDecodeError
from depth_anything_3.export import export, result_files
from depth_anything_3.files import whole_file
from seeded import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}
FORMATS = "mini_npz-npz-depth_png-depth_vis"


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Four pictures; two of them share a name but for the suffix."""
    found = [tmp_path / "photos" / name for name in ("a.png", "b.png", "b.bmp", "c.png")]
    found[0].parent.mkdir()
    for path, picture in zip(found, seeded_images_uint8(4, 42, 56, seed=3), strict=True):
        Image.fromarray(picture).save(path)
    return found


def files_in(folder: Path) -> dict[str, int]:
    """Each file and when it was written."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


# Which pictures are skipped


def test_what_is_there_is_skipped_and_the_rest_is_called_as_in_a_whole_run(seeded_small, paths, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_images(seeded_small, paths, whole, "npz-depth_png", **SMALL)
    run_images(seeded_small, paths[:1], out, "npz-depth_png", **SMALL)
    before, steps = files_in(out), []
    report = run_images(
        seeded_small, paths, out, "npz-depth_png", resume=True, on_progress=lambda: steps.append(1), **SMALL
    )
    assert (report.images, report.skipped, len(steps)) == (3, 1, 4)
    assert files_in(out).keys() == files_in(whole).keys()
    assert files_in(out).items() >= before.items()
    for name in ("b.png", "b.bmp"):
        with np.load(whole / "npz" / f"{name}.npz") as expected, np.load(out / "npz" / f"{name}.npz") as file:
            np.testing.assert_array_equal(file["depth"], expected["depth"])


def test_a_second_run_of_a_whole_one_writes_nothing(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    before = files_in(tmp_path / "out")
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", resume=True, **SMALL)
    assert (report.images, report.skipped, report.failures, report.images_per_second) == (0, 4, [], 0)
    assert files_in(tmp_path / "out") == before


def test_without_resume_everything_is_written_again(seeded_small, paths, tmp_path):
    run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", **SMALL)
    assert (report.images, report.skipped) == (4, 0)


@pytest.mark.parametrize("lack", ["gone", "empty"])
def test_a_picture_is_done_only_with_every_file_it_should_have(seeded_small, paths, tmp_path, lack):
    out = tmp_path / "out"
    run_images(seeded_small, paths, out, "npz-depth_png", **SMALL)
    if lack == "gone":
        (out / "npz" / "a.npz").unlink()
    else:  # as a power cut leaves it
        (out / "npz" / "a.npz").write_bytes(b"")
    report = run_images(seeded_small, paths, out, "npz-depth_png", resume=True, **SMALL)
    assert (report.images, report.skipped) == (1, 3)
    assert np.load(out / "npz" / "a.npz")["depth"].shape == (1, 42, 56)
    assert run_images(seeded_small, paths, out, "npz-mini_npz", resume=True, **SMALL).images == 4


def test_a_picture_that_failed_is_tried_again(seeded_small, paths, tmp_path):
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:60])
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", on_error="skip", **SMALL)
    assert (report.images, len(report.failures)) == (3, 1)
    paths[1].write_bytes(whole)
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", resume=True, on_error="skip", **SMALL)
    assert (report.images, report.skipped, report.failures) == (1, 3, [])


def test_the_files_looked_for_are_those_that_are_written(seeded_small, paths, tmp_path):
    (prediction,) = seeded_small.depth(paths[:1], **SMALL)
    assert export(prediction, tmp_path / "out", FORMATS, "a.b") == result_files(tmp_path / "out", FORMATS, "a.b")


# What a killed run leaves


@pytest.mark.parametrize("name", ["npz/a.npz", "depth_png/a.png", "report.json"])
def test_what_a_killed_run_had_begun_to_write_is_removed(seeded_small, paths, tmp_path, name):
    out = tmp_path / "out"
    with whole_file(out / name) as aside:
        aside.write_bytes(b"half of a")
        left = aside.rename(aside.with_name("saved"))
        aside.touch()
    left.rename(left.with_name(aside.name))
    own = left.with_name(".0123.npz")
    own.write_bytes(b"not ours")
    (out / name).unlink()
    run_images(seeded_small, paths, out, "npz-depth_png", resume=True, **SMALL)
    hidden = [path for path in out.rglob(".*") if path.is_file()]
    assert hidden == [own]


# The report


def test_the_report_is_a_file_too(seeded_small, paths, tmp_path):
    paths[1].write_bytes(b"")
    at = tmp_path / "out" / "report.json"
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, on_error="skip", **SMALL)
    assert json.loads(at.read_text()) == report.as_dict()
    assert (report.images, report.stopped_by, report.device, report.network) == (3, None, "cpu", "da3-small")
    assert [one["image"] for one in report.failures] == [str(paths[1])]


def test_a_run_that_stops_at_an_error_reports_what_was_done(seeded_small, paths, tmp_path):
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    at = tmp_path / "out" / "report.json"
    with pytest.raises(ImageDecodeError) as stopped:
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=at, **SMALL)
    report = json.loads(at.read_text())
    assert (report["images"], report["stopped_by"]) == (2, str(stopped.value))
    assert sorted(os.listdir(tmp_path / "out" / "npz")) == ["a.npz", "b.png.npz"]


def test_a_report_that_cannot_be_written_is_an_error_of_a_run_that_went_well(seeded_small, paths, tmp_path):
    at = tmp_path / "taken"
    at.mkdir()
    with pytest.raises(ExportError, match="taken: cannot be written"):
        run_images(seeded_small, paths[:1], tmp_path / "out", "npz", report_file=at, **SMALL)


def test_a_report_that_cannot_be_written_does_not_hide_why_a_run_stopped(seeded_small, paths, tmp_path, caplog):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(ExportError, match=r"npz/a\.npz: cannot be written"):
        run_images(seeded_small, paths, tmp_path / "out", "npz", report_file=tmp_path / "out" / "report.json", **SMALL)
    assert "no report: " in caplog.text
