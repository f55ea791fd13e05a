"""`da3 export`: results of earlier runs in other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import export
from depth_anything_3.inputs.discover import find_images
from depth_anything_3.inputs.earlier_results import MANIFEST
from depth_anything_3.jobs.manifest import RECORDS
from depth_anything_3.prediction import Prediction


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A results.npz of two views."""
    rng = np.random.default_rng(0)
    prediction = Prediction(
        depth=rng.uniform(1, 5, (2, 28, 42)).astype(np.float32),
        processed_images=rng.integers(0, 256, (2, 28, 42, 3), dtype=np.uint8),
        extrinsics=np.tile(np.eye(4, dtype=np.float32)[:3], (2, 1, 1)),
        intrinsics=np.tile(np.array([[40, 0, 21], [0, 40, 14], [0, 0, 1]], np.float32), (2, 1, 1)),
    )
    (file,) = export(prediction, tmp_path_factory.mktemp("run"), "npz")
    return file


def test_results_are_written_in_other_formats(results, tmp_path):
    printed = run("export", results, "--export-dir", tmp_path, "--export-format", "ply-tiff-depth_vis").output.split()
    files = sorted(path for path in tmp_path.rglob("*.*") if path.name not in (MANIFEST, RECORDS))
    assert sorted(map(Path, printed)) == files
    with pytest.raises(InvalidInputError, match="results of earlier runs are not input"):
        find_images([str(tmp_path)], recursive=True)
    assert {path.suffix for path in files} == {".ply", ".tiff", ".jpg"}


def test_what_a_result_lacks_is_named(results, tmp_path):
    with pytest.raises(UnsupportedError, match=r"results\.npz: feat_vis needs features"):
        run("export", results, "--export-dir", tmp_path, "--export-format", "feat_vis")
    with pytest.raises(InvalidInputError, match=r"gone\.npz"):
        run("export", tmp_path / "gone.npz", "--export-dir", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_results_share_one_range_of_colours(tmp_path):
    files = []
    for name, scale in (("a", 1.0), ("b", 3.0)):
        depth = (scale * np.linspace(1, 2, 28 * 42)).reshape(1, 28, 42).astype(np.float32)
        files += export(Prediction(depth=depth), tmp_path, "npz", name)
    options = ("--export-dir", tmp_path / "out", "--export-format", "depth_color", "--colormap", "gray")
    run("export", *files, *options, "--shared-range")
    near, far = (np.asarray(Image.open(tmp_path / "out" / "depth_color" / f"{name}.png")) for name in "ab")
    assert near.max() == 255
    assert far.min() == 0
    assert near.min() > far.max()  # 1 to 2, and 3 to 6
