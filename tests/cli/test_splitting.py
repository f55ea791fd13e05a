"""`da3 images --shard`, `--devices`, and `da3 report`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command import DONE, FAILURES, MISUSE, files_in

SMALL = ("--device", "cpu", "--process-res", 28, "--export-format", "depth_png", "--batch-size", 1)


def test_shards_and_their_report(da3, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = da3("images", photos, *SMALL, "-o", out, "--shard", "0/2", "--json", "--index")
    assert json.loads(first.out) == json.loads((out / "shards" / "report-0-of-2.json").read_text())
    assert f"when all shards are done, da3 index {out} writes index.html" in first.err
    run = da3("report", out)
    assert run.code == FAILURES
    assert "no report of shard 1/2: not started, or written to another folder" in run.out
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    da3("images", photos, *SMALL, "-o", out, "--shard", "slurm")
    assert files_in(out / "depth_png") == ["a.png", "c.png"]
    run = da3("report", out)
    assert run.code == FAILURES  # one is damaged
    first, second, last = run.out.splitlines()
    assert (first, second) == ("2 of 3 images complete, by 2 reports", "failed: 1 (ImageDecodeError 1)")
    assert last.startswith("2 images written in ")
    assert run.err.startswith(f"failed: {photos / 'b.png'}: truncated PNG")
    assert "pass --allow-truncated" in run.err
    summary = json.loads(da3("report", out, "--json").out)
    assert (summary["images"], summary["expected"], summary["failed"]) == (2, 3, {"ImageDecodeError": 1})
    (page,) = da3("index", out).out.splitlines()
    text = Path(page).read_text(encoding="utf-8")
    assert all(part in text for part in ("depth_png/a.png", "depth_png/c.png", "1 failed", "truncated PNG"))


def test_a_complete_report_exits_with_0(da3, photos, tmp_path):
    da3("images", photos / "a.png", *SMALL, "-o", tmp_path)
    run = da3("report", tmp_path)
    assert (run.code, run.out.splitlines()[0]) == (DONE, "1 of 1 images complete, by 1 report")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "4/4"], "--shard 4/4: the first number is from 0"),
        (["--shard", "slurm"], "SLURM_ARRAY_TASK_ID"),
        (["--devices", "gpu"], "--devices gpu"),
        (["--shard", "0/2", "--scene"], "--shard does not work with --scene"),
        (["--devices", "cpu,cpu", "--scene"], "--devices does not work with --scene"),
        (["--shard", "0/2", "--auto-cleanup"], "--auto-cleanup does not work with --shard"),
        (["--shard", "0/2", "--shared-range"], "--shared-range does not work with shards"),
        (["--devices", "cpu,cpu", "--shared-range", "-f", "depth_vis"], "--shared-range does not work with shards"),
    ],
)
def test_misuse_is_one_line(da3, photos, tmp_path, flags, message):
    run = da3("images", photos / "a.png", "--process-res", 28, "-o", tmp_path / "out", *flags)
    assert run.code == MISUSE, run.err
    assert message in run.err
    assert not (tmp_path / "out").exists()


def test_device_has_no_effect_with_devices(da3, photos, tmp_path):
    run = da3("images", photos / "a.png", "-o", tmp_path, "--device", "cpu", "--devices", "cpu,cpu", "--shard", "x")
    assert "--device has no effect: --devices names them" in run.err
