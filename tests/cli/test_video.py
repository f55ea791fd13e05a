"""`da3 video`: the real command, in this process."""

from __future__ import annotations

import json
import re

import numpy as np
import pillow_heif
from PIL import Image
from typer.testing import CliRunner

from depth_anything_3.cli import app


def test_a_phones_folder_gives_its_heic_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    (tmp_path / "phone").mkdir()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "phone" / "IMG_0001.HEIC")
    words = ["video", str(tmp_path / "phone"), "--export-dir", str(tmp_path / "out"), "--export-format", "npz"]
    words += ["--model-dir", "da3-nano", "--process-res", "112", "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["images"] == 1
    first, second, _ = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert re.match(r"1 frame\(s\) in .* frames/s\) on cpu; written to ", first)
    assert second.startswith("ms per frame: ")
