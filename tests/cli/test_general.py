"""-q and -v, before and after the name of the command."""

from __future__ import annotations

import json

import pytest

from depth_anything_3.cli import console
from support.command import DONE, FAILURES, MISUSE


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # -q sets it


RUN = ("--process-res", "56", "--device", "cpu")


@pytest.mark.parametrize("words", [("-q", "images"), ("images", "--quiet")], ids="_".join)
def test_quiet_prints_errors_only(da3, photos, tmp_path, small_checkpoint, words):
    run = da3(*words, photos, *RUN, "--model-dir", small_checkpoint, "-o", tmp_path)
    assert (run.code, run.out) == (FAILURES, "")
    assert run.err.startswith(f"failed: {photos / 'b.png'}: truncated PNG")
    assert len(run.err.splitlines()) == 1
    assert not console.stdout.quiet  # no longer than the command


def test_quiet_prints_json_and_misuse(da3, photos, tmp_path):
    run = da3("image", photos / "a.png", *RUN, "-q", "--json", "-o", tmp_path)
    assert (run.code, run.err, json.loads(run.out)["images"]) == (DONE, "", 1)
    run = da3("images", photos, "-q", "-f", "obj")
    assert (run.code, run.out) == (MISUSE, "")
    assert run.err.startswith("error: ")


@pytest.mark.parametrize("flag", ["-v", "-vv"])
def test_verbose_prints_reasons_and_then_times(da3, photos, tmp_path, flag):
    run = da3("image", photos / "a.png", *RUN, flag, "-o", tmp_path)
    assert "info strategy cpu for 1 image(s): the network is on the CPU\n" in run.err
    assert (f"debug {photos / 'a.png'}: strategy cpu (the network is on the CPU); decode " in run.err) == (
        flag == "-vv"
    )
    assert "info " not in da3("image", photos / "a.png", *RUN, "-o", tmp_path).err
