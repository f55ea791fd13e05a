"""`da3 images` with stored images and packed results."""

from __future__ import annotations

import json

import pytest

from support.command import FAILURES, MISUSE, files_in
from support.tars import write_tar


@pytest.fixture
def tar(photos, tmp_path):
    """Two images, a damaged one between them, and one whose id was there."""
    members = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    return write_tar(tmp_path / "in.tar", [*members, ("a.jpg", b"again")])


def test_the_command_packs_results(da3, tar, tmp_path):
    out = tmp_path / "out"
    command = ("images", tar, "--pack", "webdataset", "-o", out, "--process-res", 56)
    done = da3(*command)
    assert done.code == FAILURES
    assert "2 image(s)" in done.out
    assert "b.png: " in done.err
    assert "--id-column" in done.err
    assert [one.partition("-")[0] for one in files_in(out)] == [
        *("da3", "report.json"),
        *("webdataset/_depth", "webdataset/_errors", "webdataset/depth", "webdataset/errors"),
    ]
    again = da3(*command)
    assert again.code == MISUSE
    assert "pass --resume to continue, --overwrite to replace" in again.err


def test_shards_and_their_report(da3, tar, tmp_path):
    out = tmp_path / "out"
    done = [
        da3("images", tar, "--pack", "webdataset", "-o", out, "--process-res", 28, "--shard", f"{index}/2")
        for index in range(2)
    ]
    assert FAILURES in {one.code for one in done}
    assert [one for one in files_in(out) if "report" in one] == [
        "shards/report-0-of-2.json",
        "shards/report-1-of-2.json",
    ]
    run = da3("report", out)
    assert run.code == FAILURES
    report = out / "shards" / "report-0-of-2.json"
    first = json.loads(report.read_text())
    assert (first["shard"], first["total"], first["is_streamed"]) == ("0/2", 4, True)
    assert run.out.splitlines()[:2] == [
        "2 of 4 images complete, by 2 reports",
        "failed: 2 (ImageDecodeError 1, InvalidInputError 1)",
    ]
    for index in range(2):  # as if both had been killed
        report = out / "shards" / f"report-{index}-of-2.json"
        report.write_text(
            json.dumps({**first, "shard": f"{index}/2", "total": None, "ended": "", "failures": [], "records": []})
        )
    run = da3("report", out)
    assert run.code == FAILURES
    assert run.out.splitlines()[:2] == [
        "2 images complete, by 2 reports",
        "missing: not known, since no report has the number of all images",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scene",), "--scene needs images that are files on disk"),
        (("--index",), "--index needs images that are files on disk"),
        (("--pack", "zip"), "--pack zip is unknown; choose 'files', 'webdataset' or 'parquet'"),
        (("--part-size", "0"), "--part-size 0"),
        (("--devices", "0,1", "--shard", "0/2"), "--shard does not work with --devices and stored images"),
        (("--shard", "2/2"), "--shard 2/2: the first number is from 0"),
    ],
)
def test_misuse_is_reported_before_weights_are_loaded(da3, tar, tmp_path, words, message):
    done = da3("images", tar, "-o", tmp_path / "out", *words, "--model-dir", "missing")
    assert done.code == MISUSE
    assert message in done.err


def test_a_missing_source_is_reported_before_weights_are_loaded(da3, tmp_path):
    done = da3("images", tmp_path / "missing.csv", "-o", tmp_path / "out", "--model-dir", "missing")
    assert done.code == FAILURES
    assert "missing.csv: no such file" in done.err
