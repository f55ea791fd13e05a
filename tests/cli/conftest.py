"""Fixtures of the command's tests: images, and the command run in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from depth_anything_3 import cli
from support.command import Run
from support.seeded_values import seeded_images_uint8


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two images and a damaged one between them."""
    folder = tmp_path_factory.mktemp("photos")
    for name, image in zip("ac", seeded_images_uint8(2, 56, 84, seed=4), strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


@pytest.fixture
def da3(monkeypatch, capsys, small_checkpoint):
    """Runs the command in this process, with the small checkpoint where none is named."""

    def run(*arguments: object) -> Run:
        words = ["da3", *map(str, arguments)]
        if words[1:2] in (["image"], ["images"], ["auto"]) and "--model-dir" not in words:
            words += ["--model-dir", str(small_checkpoint)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return Run(int(left.value.code or 0), captured.out, captured.err)

    return run
