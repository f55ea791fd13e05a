"""`da3 image`: one result in a file of any name, and the flags that one image has a use for."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from depth_anything_3 import cli
from support.command import DONE, FAILURES, MISUSE, Run, files_in

SMALL = ("--device", "cpu", "--process-res", 56)


def test_one_file_is_written_under_its_name(da3, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = da3("image", photos / "a.png", *SMALL, "-o", "new/folder/depth.npz", "--json")
    assert (run.code, run.err) == (DONE, "")
    report = json.loads(run.out)
    assert report["records"][0]["outputs"] == [report["export_dir"]] == ["new/folder/depth.npz"]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["new/folder/depth.npz"]  # no more
    da3("image", photos / "a.png", *SMALL, "--export-dir", tmp_path / "out", "--export-format", "npz")
    with np.load("new/folder/depth.npz") as written, np.load(tmp_path / "out" / "npz" / "a.npz") as expected:
        np.testing.assert_array_equal(written["depth"], expected["depth"])


def test_an_existing_file_is_replaced_on_request_only(da3, photos, tmp_path):
    target = tmp_path / "depth.tiff"
    target.write_bytes(b"mine")
    line = ("image", photos / "a.png", *SMALL, "-o", target)
    run = da3(*line)
    assert (run.code, run.err) == (
        MISUSE,
        f"error: {target}: exists; pass --overwrite to replace it, or name another file\n",
    )
    failed = da3("image", photos / "b.png", *line[2:], "-y")
    assert (failed.code, target.read_bytes()) == (FAILURES, b"mine")  # a failed image replaces nothing
    assert da3(*line, "-y").code == DONE
    assert np.asarray(Image.open(target)).shape == (42, 56)
    assert files_in(tmp_path) == ["depth.tiff"]


class Pipe(io.TextIOWrapper):
    """Standard output that is not a terminal."""


def test_a_dash_writes_the_file_alone_to_standard_output(photos, tmp_path, monkeypatch, small_checkpoint, capsys):
    words = ["da3", "image", photos / "a.png", *SMALL, "--model-dir", small_checkpoint, "-o", "-", "-", "npz"]
    words[-2] = "--export-format"
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    monkeypatch.setattr(sys, "stdout", Pipe(io.BytesIO()))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    sys.stdout.flush()
    with np.load(io.BytesIO(sys.stdout.buffer.getvalue())) as file:
        assert file["depth"].shape == (1, 42, 56)
    assert "written to standard output" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == MISUSE
    assert "not written to a terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-o", "a.png", "-y"], "a.png: the image itself, which is not replaced"),
        (["-o", "link.png", "-y"], "link.png: the image itself, which is not replaced"),
        (["-o", "x.bmp"], "x.bmp: the suffix '.bmp' is unknown; give one of"),
        (
            ["-o", "x"],
            "pass --export-format, give one of .png, .jpg, .npz, .ply",
        ),
        (["-o", "x.npz", "--skip-existing"], "--output has none"),
        (["-o", "-", "--export-format", "npz", "--json"], "both write to standard output"),
        (["-o", os.devnull, "--export-format", "npz", "-y"], "not a regular file"),
    ],
)
def test_misuse_of_output_is_refused_before_anything_is_computed(da3, photos, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes((photos / "a.png").read_bytes())
    Path("link.png").symlink_to("a.png")
    run: Run = da3("image", "a.png", *flags, "--model-dir", "nothere/model")
    assert run.code == MISUSE
    assert message in run.err
    assert Path("a.png").read_bytes() == (photos / "a.png").read_bytes()


def test_flags_without_effect_beside_output_are_named(da3, photos, tmp_path):
    line = ("image", photos / "a.png", *SMALL, "-o", tmp_path / "x.npz", "--export-dir", tmp_path / "out")
    run = da3(*line, "--num-max-points", 9)
    assert [line.split()[1] for line in run.err.splitlines()] == ["--export-dir", "--num-max-points"]
    assert files_in(tmp_path) == ["x.npz"]


def test_the_help_shows_what_one_image_has_a_use_for():
    shown = {
        name: {flag for one in command.params if not getattr(one, "hidden", False) for flag in one.opts}
        for name, command in typer.main.get_command(cli.app).commands.items()
    }
    many = {"--batch-size", "--max-batch-size", "--recursive", "--image-extensions", "--ref-view-strategy", "--scene"}
    many |= {"--shared-range", "--feat-vis-fps"}
    assert many <= shown["images"]
    assert not {*many, "--index", "--mixed-sizes"} & shown["image"]
    assert {"--output", "--metric", "--skip-existing", "--overwrite"} <= shown["image"]


def test_output_may_be_a_folder(da3, photos, tmp_path):
    run = da3("image", photos / "a.png", *SMALL, "-o", tmp_path, "-f", "depth_png")
    assert run.code == DONE
    assert (tmp_path / "depth_png" / "a.png").is_file()
