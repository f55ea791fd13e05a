"""What `da3` prints and exits with when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys

import pytest
from huggingface_hub import constants

from depth_anything_3 import cli
from depth_anything_3.errors import InvalidInputError
from support.command import DONE, FAILURES, MISUSE, files_in


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--export-format", "obj"], "--export-format obj is unknown", id="export-format"),
        pytest.param(["--device", "gpu"], "--device gpu is unknown; a GPU is 'cuda'", id="device"),
        pytest.param(["--dtype", "half"], "--dtype half is unknown", id="dtype"),
        pytest.param(["--process-res", 13], "--process-res 13: give", id="process-res"),
        pytest.param(
            ["--process-res-method", "stretch"], "--process-res-method stretch is unknown", id="process-res-method"
        ),
        pytest.param(["--batch-size", 0], "--batch-size 0: give", id="batch-size"),
        pytest.param(["--batch-size", "many"], "--batch-size many: give a whole number", id="batch-size-word"),
        pytest.param(["--max-batch-size", 0], "--max-batch-size 0: give", id="max-batch-size"),
        pytest.param(["--target-memory-utilization", 2], "--target-memory-utilization 2.0: give", id="memory"),
        pytest.param(["--num-workers", 0], "--num-workers 0: give", id="num-workers"),
        pytest.param(["--on-error", "ignore"], "--on-error ignore is unknown", id="on-error"),
        pytest.param(["--exif", "yes"], "--exif yes is unknown", id="exif"),
        pytest.param(["--scene", "--ref-view-strategy", "best"], "best", id="ref-view-strategy"),
        pytest.param(["--image-extensions", "exr"], "no files ending in .exr", id="no-such-files"),
        pytest.param(["--strategy", "warp"], "--strategy warp is unknown; choose 'auto', 'gpu_decode'", id="strategy"),
        pytest.param(["--strategy", "hybrid", "--device", "cpu"], "--strategy hybrid needs a GPU", id="no-gpu"),
        pytest.param(["none/*.jpg"], "none/*.jpg: no files ending in ", id="no-match"),
        pytest.param(["--max-pixels", 0], "--max-pixels 0: give a whole number", id="max-pixels"),
        pytest.param(["--max-bytes", -1], "--max-bytes -1: give a whole number", id="max-bytes"),
        pytest.param(
            ["--infer-gs", "--export-format", "gs_ply"],
            "--infer-gs with da3-small, which predicts no Gaussians",
            id="infer-gs",
        ),
        pytest.param(["--fidelity", "good"], "--fidelity good is unknown; choose 'exact', 'high'", id="fidelity"),
    ],
)
def test_misuse_is_one_line_that_quotes_it(da3, photos, tmp_path, arguments, message):
    run = da3("images", photos, "--export-dir", tmp_path / "out", *arguments)
    assert (run.code, run.out) == (MISUSE, "")
    (line,) = run.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["images"], "Missing argument 'SOURCE", id="no-source"),
        pytest.param(["images", "a.jpg", "--bogus"], "No such option: --bogus", id="unknown-option"),
        pytest.param(["images", "a.jpg", "--process-res", "big"], "'--process-res'", id="not-a-number"),
        pytest.param(["imagine"], "No such command 'imagine'", id="unknown-command"),
        pytest.param(["image", "a.jpg", "b.jpg"], "da3 image takes one image, but 2 were given", id="two-for-one"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_misuse_without_a_traceback(da3, arguments, message):
    run = da3(*arguments)
    assert (run.code, run.out) == (MISUSE, "")
    assert message in run.err
    assert "Traceback" not in run.err


def test_a_demo_with_an_unavailable_strategy_is_misuse(da3, tmp_path):
    run = da3("demo", "--device", "cpu", "--strategy", "full_gpu", "--export-dir", tmp_path / "demo")
    assert (run.code, run.out) == (MISUSE, "")
    assert "--strategy full_gpu needs a GPU" in run.err
    assert not (tmp_path / "demo").exists()


def test_an_unknown_format_is_reported_before_weights_are_searched(da3):
    run = da3("images", "a.jpg", "--model-dir", "/no/such/checkpoint", "--export-format", "obj")
    assert run.code == MISUSE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["images", "{photos}", "--on-error", "raise"], "{photos}/b.png: truncated", id="raise"),
        pytest.param(["images", "{photos}", "--model-dir", "/no/model"], "/no/model: no such folder", id="no-model"),
        pytest.param(
            ["images", "{photos}", "--model-dir", "test/NONE"],
            "test/NONE: no such folder, config.json is",
            id="offline",
        ),
        pytest.param(["image", "{photos}/a.png", "--export-dir", "{photos}/c.png"], "cannot be written", id="export"),
        pytest.param(
            ["images", "{photos}", "--export-dir", "{photos}/c.png/x"], "c.png: a file, so", id="below-a-file"
        ),
        pytest.param(["images", "@gone.txt"], "gone.txt: the list of images cannot be read", id="no-list"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line_that_names_it(
    da3, photos, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    command, *rest = (word.format(photos=photos) for word in arguments)
    run = da3(command, "--process-res", 56, "--export-dir", tmp_path, *rest)
    assert (run.code, run.out) == (FAILURES, "")
    (line,) = run.err.splitlines()
    assert line.startswith("error: ")
    assert message.format(photos=photos) in line


@pytest.mark.parametrize(("name", "message"), [("b.png", "truncated PNG"), ("z.png", "no such file")])
def test_a_single_image_that_cannot_be_read_is_reported_like_one_of_many(da3, photos, tmp_path, name, message):
    run = da3("image", photos / name, "--export-dir", tmp_path)
    assert run.code == FAILURES
    assert run.err.startswith(f"failed: {photos / name}: {message}")
    assert run.out.startswith("0 image(s)")
    report = json.loads(da3("image", photos / name, "--export-dir", tmp_path, "--json").out)
    assert (report["images"], report["failures"][0]["image"]) == (0, str(photos / name))
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["[draft] photo.png", "x[red]y.png", "sun :sunny: day.png"])
def test_a_name_with_brackets_is_printed_as_it_is(da3, tmp_path, name):
    folder = tmp_path / f"[bold]{name}.d"
    folder.mkdir()
    (folder / name.replace("/", "")).write_bytes(b"no image")
    run = da3("images", folder, "--export-dir", folder / "out")
    assert run.code == FAILURES
    assert run.err.startswith(f"failed: {folder / name.replace('/', '')}: not an image")
    assert da3("image", folder / "[/gone]").err == f"failed: {folder / '[/gone]'}: no such file\n"
    assert (
        da3("images", folder / "[/gone]", "--on-error", "raise", "--export-dir", folder / "out").err
        == f"error: {folder / '[/gone]'}: no such file\n"
    )


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"new\nline.png", b"\x1b]0;title\x07.png"], ids=ascii)
def test_names_with_control_or_invalid_characters_are_escaped(da3, photos, tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), b"photos \xff")
    os.mkdir(folder)
    shutil.copy(photos / "a.png", os.path.join(folder, b"good " + name))
    shutil.copy(photos / "b.png", os.path.join(folder, b"bad " + name))
    run = da3("images", os.fsdecode(folder), "--process-res", 56, "--export-dir", os.fsdecode(folder + b"/out"))
    assert run.code == FAILURES
    (line,) = run.err.splitlines()
    assert line.isprintable()
    assert line.startswith(f"failed: {tmp_path}/photos \\udcff/bad {repr(os.fsdecode(name))[1:-1]}: truncated PNG")
    assert len(os.listdir(folder + b"/out/npz")) == 1
    report = json.loads(da3("images", os.fsdecode(folder), "--process-res", 56, "--json", "--export-dir", tmp_path).out)
    assert report["failures"][0]["image"] == os.fsdecode(os.path.join(folder, b"bad " + name))


@pytest.mark.parametrize("words", [["--debug", "images", "{}"], ["images", "{}", "--debug"]], ids=["before", "after"])
def test_debug_lets_the_traceback_through_wherever_it_stands(photos, monkeypatch, words):
    line = [word.format(photos) for word in words]
    monkeypatch.setattr(sys, "argv", ["da3", *line, "--export-format", "obj"])
    with pytest.raises(InvalidInputError, match="'obj'"):
        cli.main()


def test_behind_two_dashes_debug_is_a_name(da3, small_checkpoint, tmp_path):
    run = da3("image", "--export-dir", tmp_path, "--model-dir", small_checkpoint, "--", "--debug")
    assert run.err == "failed: --debug: no such file\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_stop_ends_with_one_line(da3, photos, monkeypatch, number, code):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(
        sys.modules["depth_anything_3.cli.images"], "load_model", lambda *_, **__: signal.raise_signal(number)
    )
    run = da3("images", photos)
    assert (run.code, run.out) == (code, "")
    assert run.err.strip() == "stopped; the files written so far are complete"
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    ("option", "message"),
    [
        pytest.param(
            ["--max-pixels", 4703], "states 84x56 pixels, more than the limit of 4,703.*raise --max-pixels", id="pixels"
        ),
        pytest.param(["--max-bytes", 999], r"bytes, more than the limit of 999.*raise --max-bytes", id="bytes"),
    ],
)
def test_a_limit_rejects_what_is_beyond_and_says_how_to_raise_it(da3, photos, tmp_path, option, message):
    run = da3("image", photos / "a.png", "--export-dir", tmp_path, *option)
    assert (run.code, files_in(tmp_path)) == (FAILURES, [])
    assert re.fullmatch(f"failed: {photos / 'a.png'}: .*{message}", run.err.strip())


def test_a_cut_file_is_decoded_as_far_as_it_goes_if_that_is_allowed(da3, photos, tmp_path):
    run = da3("image", photos / "b.png", "--process-res", 56, "--export-dir", tmp_path, "--allow-truncated")
    assert (run.code, files_in(tmp_path)) == (DONE, ["depth_vis/b.jpg", "npz/b.npz"])
    assert run.err.startswith(f"warning {photos / 'b.png'}: truncated PNG; decoded as far as possible")
