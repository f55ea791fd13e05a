"""Shards: which images each has, and that together they are a run that was not split."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.discover import FoundImage, find_images, find_with_folders
from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.shards import Shard, image_id, parse_shard, report_path
from support.command import files_in
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 28, "num_workers": 2, "batch_size": 1}
FORMATS = "mini_npz-depth_png"

# Which images


@settings(max_examples=15)
@given(ids=st.lists(st.text(max_size=8), unique=True, max_size=12), count=st.integers(1, 12), parts=st.integers(1, 4))
def test_shards_are_disjoint_and_complete_and_so_are_their_parts(ids, count, parts):
    shards = [Shard(index, count) for index in range(count)]
    for one in ids:
        (shard,) = (shard for shard in shards if shard.contains(one))
        assert [part.contains(one) for part in shard.split(parts)].count(True) == 1
        assert not any(part.contains(one) for other in shards if other != shard for part in other.split(parts))


def test_shards_have_about_the_same_size():
    sizes = [sum(Shard(index, 7).contains(f"{number}.jpg") for number in range(1000)) for index in range(7)]
    assert sum(sizes) == 1000
    assert 110 < min(sizes) < max(sizes) < 175


@pytest.mark.parametrize(
    ("image", "count", "index"), [("a.jpg", 7, 6), ("sub/b.png", 7, 0), ("größe.jpg", 1000, 958), ("\udcff.jpg", 7, 4)]
)
def test_the_shard_of_an_id_never_changes(image, count, index):
    assert Shard(index, count).contains(image)


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("photos/sub/a.jpg", "photos", "sub/a.jpg"),
        ("/mnt/photos/sub/a.jpg", "/mnt/photos", "sub/a.jpg"),
        ("photos/a.jpg", "", "photos/a.jpg"),
        ("../photos/a.jpg", "", "a.jpg"),
        ("/elsewhere/a.jpg", "/mnt", "a.jpg"),
    ],
)
def test_the_id_is_the_path_below_the_folder_that_was_given(path, folder, expected):
    assert image_id(FoundImage(Path(path), Path(folder))) == expected


# Given as text


def slurm(**values: object) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/7", {}, Shard(3, 7)),
        ("0/1", {}, Shard(0, 1)),
        ("slurm", slurm(ID=3, COUNT=7, MIN=0, MAX=6), Shard(3, 7)),
        ("slurm", slurm(ID=7, COUNT=7, MIN=1, MAX=7, STEP=1), Shard(6, 7)),
        ("slurm", slurm(ID=14, COUNT=3, MIN=10, MAX=14, STEP=2), Shard(2, 3)),
        ("SLURM", slurm(ID=0, COUNT=2), Shard(0, 2)),
    ],
)
def test_a_shard_is_parsed(text, environment, expected):
    assert parse_shard(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("7/7", {}, r"'?7/7'?: the first number is from 0 to the second minus 1"),
        ("0/0", {}, "the first number is from 0"),
        ("3", {}, "shard='3' is not accepted; give 'i/n' with i from 0, such as '0/4', or 'slurm'"),
        ("-1/4", {}, "is not accepted"),
        ("slurm", {}, "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT is not set, so this is no task of a SLURM job"),
        ("slurm", slurm(ID=1), "SLURM_ARRAY_TASK_COUNT is not set"),
        ("slurm", slurm(ID="x", COUNT=7), "SLURM_ARRAY_TASK_ID=x, SLURM_ARRAY_TASK_COUNT=7, which must be integers"),
        ("slurm", slurm(ID=9, COUNT=3, MIN=1, MAX=9, STEP=1), "task 9 of 3, .* number the tasks without gaps"),
        ("slurm", slurm(ID=3, COUNT=3, MIN=0, STEP=2), "has no index of its own"),
    ],
)
def test_what_is_no_shard_is_refused(text, environment, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_shard(text, environment)


# Runs


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Images in two folders; some have the same stem, or the same name as one in the other folder."""
    folder = tmp_path_factory.mktemp("photos")
    names = ["x/a.png", "x/a.bmp", "x/b.png", "x/c.png", "y/a.png", "y/b.png", "y/d.png", "y/e.png", "y/f.png"]
    for name, image in zip(names, seeded_images_uint8(len(names), 42, 56, seed=3), strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def found(photos) -> list[FoundImage]:
    return find_with_folders([str(photos / "x"), str(photos / "y")])


@pytest.fixture(scope="module")
def whole(seeded_small, found, tmp_path_factory) -> dict[str, bytes]:
    """The results of a run that is not split."""
    out = tmp_path_factory.mktemp("whole")
    run_images(seeded_small, found, out, FORMATS, **SMALL)
    return results(out)


def results(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in files_in(out) if "report" not in name}


def run_shard(model, found, out, text, **options):
    shard = parse_shard(text)
    return run_images(
        model, found, out, FORMATS, shard=shard, report_file=report_path(out, shard), **{**SMALL, **options}
    )


def test_shards_write_what_a_run_that_is_not_split_writes(seeded_small, found, whole, tmp_path):
    reports = [run_shard(seeded_small, found, tmp_path, f"{index}/4") for index in range(4)]
    assert results(tmp_path) == whole
    assert [one.images for one in reports] == [len(Shard(index, 4).select(found)) for index in range(4)]
    assert {one.total for one in reports} == {len(found)}
    written = [record.source for one in reports for record in one.records]
    assert sorted(written) == sorted(str(one.path) for one in found)
    assert sorted(path.name for path in (tmp_path / "shards").glob("report*")) == [
        f"report-{index}-of-4.json" for index in range(4)
    ]
    again = run_images(seeded_small, found, tmp_path, FORMATS, resume=True, **SMALL)  # and it knows them
    assert (again.images, again.skipped) == (0, len(found))


def test_another_number_of_shards_resumes_what_is_there(seeded_small, found, whole, tmp_path):
    first = run_shard(seeded_small, found, tmp_path, "1/3")
    reports = [run_shard(seeded_small, found, tmp_path, f"{index}/2", resume=True) for index in range(2)]
    assert sum(one.skipped for one in reports) == first.images > 0
    assert sum(one.images for one in reports) == len(found) - first.images
    assert results(tmp_path) == whole
    with pytest.raises(InvalidInputError, match=r"computed with other settings .*process_res=28, now 42"):
        run_shard(seeded_small, found, tmp_path, "1/2", resume=True, process_res=42)


def test_of_results_in_several_manifests_the_latest_counts(seeded_small, found, tmp_path):
    run_shard(seeded_small, found[:1], tmp_path, "0/1")
    run_images(seeded_small, found[:1], tmp_path, FORMATS, overwrite=True, **{**SMALL, "process_res": 42})
    owner = next(one for one in Shard(0, 1).split(2) if one.select(found[:1]))
    with pytest.raises(InvalidInputError, match="process_res=42, now 28"):
        run_shard(seeded_small, found[:1], tmp_path, str(owner), resume=True)


def test_an_image_that_appears_later_does_not_rename_results_of_other_shards(seeded_small, photos, tmp_path):
    """Without the manifests of the other shards, `b` would seem free for the image of the second folder."""
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    first, second = tmp_path / "x" / "b.png", tmp_path / "y" / "b.bmp"
    for one in (first, second):
        Image.open(photos / "x" / "b.png").save(one)
    owner = next(shard for shard in Shard(0, 1).split(5) if shard.contains("b.bmp"))
    assert not owner.contains("b.png")  # so the first is in another shard
    sources = [str(tmp_path / "x"), str(tmp_path / "y")]
    for index in range(5):
        run_shard(seeded_small, find_with_folders(sources), tmp_path / "out", f"{index}/5")
    names = {one.sources[0].path: one.name for one in Manifest(tmp_path / "out").records}
    assert names[str(first)] == "b"
    second.touch()
    Image.open(first).save(first.with_suffix(".tif"))
    run_shard(seeded_small, find_with_folders(sources), tmp_path / "out", str(owner), resume=True)
    assert {one.sources[0].path: one.name for one in Manifest(tmp_path / "out").records} == names


def test_a_shard_without_images_reports_that(seeded_small, found, tmp_path):
    empty = next(index for index in range(50) if not Shard(index, 50).select(found))
    report = run_shard(seeded_small, found, tmp_path, f"{empty}/50")
    assert (report.images, report.left, report.stopped_by) == (0, {}, None)
    assert report_path(tmp_path, Shard(empty, 50)).exists()


def test_results_of_shards_are_not_input(seeded_small, found, photos, tmp_path):
    out = tmp_path / "out"
    run_shard(seeded_small, found[:1], out, "0/1")
    with pytest.raises(InvalidInputError, match="results of earlier runs are not input"):
        find_images([str(out)], recursive=True)
    Manifest(out).remove_results()
    assert not list(out.iterdir())


def test_temporary_files_of_other_shards_stay_for_an_hour(seeded_small, found, tmp_path):
    found = found[:2]
    run_shard(seeded_small, found, tmp_path, "0/1")
    young, old = (tmp_path / "mini_npz" / f".{digit * 32}.npz" for digit in "ab")
    for one in (young, old):
        one.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    run_shard(seeded_small, found, tmp_path, "0/1", resume=True)
    assert (young.exists(), old.exists()) == (True, False)


def test_the_report_of_a_shard_is_there_from_the_beginning(seeded_small, found, tmp_path):
    found, seen = found[:2], []

    def look(_failed: int = 0) -> None:
        seen.append(json.loads(report_path(tmp_path, Shard(0, 1)).read_text()))

    run_shard(seeded_small, found, tmp_path, "0/1", on_progress=look)
    assert all((one["ended"], sorted(one["left"].values())) == ("", sorted(str(f.path) for f in found)) for one in seen)
    report = json.loads(report_path(tmp_path, Shard(0, 1)).read_text())
    assert (report["left"], report["shard"]) == ({}, "0/1")
    assert report["ended"] > report["began"] > "2026"


def test_a_shared_range_is_refused(seeded_small, found, tmp_path):
    with pytest.raises(InvalidInputError, match="shared_range=True does not work with shards"):
        run_images(
            seeded_small, found, tmp_path, "depth_vis", shard=Shard(0, 2), export_options=shared_range(), **SMALL
        )


def shared_range():
    from depth_anything_3.export import ExportOptions

    return ExportOptions(shared_range=True)
