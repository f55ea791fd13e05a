"""What `da3` prints about damaged files: each line names its file, and no library prints of itself."""

from __future__ import annotations

import os
import re
import sys

import numpy as np
import pytest

from depth_anything_3 import cli
from depth_anything_3.diagnostics.synthetic import photo
from support.command import FAILURES
from support.images import encoded, jpeg, write
from support.png_builder import RGB, chunk, hand_made_png

PIXELS = photo(120, 90, 1)


def files(folder):
    whole = jpeg(120, 90)
    text = chunk(b"tEXt", b"Comment\0x")
    lzw = encoded(PIXELS, "TIFF", compression="tiff_lzw")
    made = {
        "early.jpg": whole[: len(whole) // 2] + b"\xff\xd9",
        "text.png": hand_made_png(PIXELS, RGB, 8, before=text[:-4] + b"1234"),
        "profile.png": hand_made_png(PIXELS, RGB, 8, before=chunk(b"gAMA", b"\0\0")),
        "cut.jpg": whole[: len(whole) // 2],
        "two.jpg": b"\xff\xd8",
        "depth.tif": encoded(np.ones((90, 120), np.float32), "TIFF"),
        "lzw.tif": lzw[:400] + b"\xff" * 50 + lzw[450:],
    }
    return [write(folder / name, data) for name, data in made.items()]


def test_every_line_names_its_file(tmp_path, monkeypatch, capfd):
    """What the process prints, because libraries in C print past Python's stderr."""
    options = ["--model-dir", "da3-nano", "--device", "cpu", "--process-res", "56", "--export-format", "mini_npz"]
    words = ["images", *map(str, files(tmp_path)), *options, "--export-dir", "out"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["da3", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == FAILURES
    lines = [line.replace(f"{tmp_path}{os.sep}", "") for line in capfd.readouterr().err.splitlines()]
    for expected in (
        "cut.jpg: truncated JPEG",
        "depth.tif: floating-point samples have no fixed range",
        "lzw.tif: damaged TIFF",
        "two.jpg: truncated or damaged JPEG: its header is not complete in 2 bytes",
        "warning early.jpg: damaged JPEG, part of which may be wrong (premature end of data segment)",
        "warning text.png: damaged PNG: a checksum outside its pixels is wrong (chunk tEXt)",
    ):
        assert sum(expected in line for line in lines) == 1, expected
    assert [
        line
        for line in lines
        if not re.search(r"\w+\.(jpg|png|tif): |^loading|^warning da3-nano is a demonstration: ", line)
    ] == []
