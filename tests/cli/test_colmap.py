"""`da3 colmap`: the real command, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colmap import SparseModel, SparsePoints, write_sparse_model
from support.colmap_workspace import SIZE, write_workspace


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return write_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def computed(workspace, small_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    result = run(
        "colmap", workspace, "--model-dir", small_checkpoint, "--export-dir", out, "--process-res", 112,
        "--export-format", "npz-glb", "--device", "cpu",
    )  # fmt: skip
    return out, result


def test_colmap_gives_depth_in_the_unit_of_the_given_cameras(computed):
    out, _ = computed
    with np.load(out / "exports" / "npz" / "results.npz") as file:
        assert file["depth"].shape == (3, *SIZE)
        np.testing.assert_allclose(file["extrinsics"][:, :, 3], [[0, 0, 0], [5, 0, 1], [0, 5, 0]], atol=1e-6)
        np.testing.assert_allclose(file["intrinsics"][0], [[100, 0, 56], [0, 100, 42], [0, 0, 1]], atol=1e-4)
    assert (out / "scene.glb").stat().st_size > 10_000
    assert (out / "scene.jpg").is_file()


def test_colmap_reports_what_is_skipped(workspace, small_checkpoint, tmp_path, caplog):
    run(
        "colmap", workspace, "--model-dir", small_checkpoint, "--export-dir", tmp_path, "--process-res", 56,
        "--export-format", "mini_npz", "--device", "cpu",
    )  # fmt: skip
    assert "skipped 1 images without a pose: " in caplog.text
    assert "3.png" in caplog.text
    assert "skipped 1 poses without an image: gone.png" in caplog.text


def test_a_format_the_model_lacks_fields_for_is_rejected_first(small_checkpoint, tmp_path):
    (tmp_path / "a.jpg").write_text("never read")
    for wish, message in (("gs_ply", "infer_gs=True with da3-giant"), ("feat_vis", "export_feat_layers")):
        with pytest.raises(UnsupportedError, match=message):
            run("images", tmp_path, "--model-dir", small_checkpoint, "--export-dir", tmp_path, "--export-format", wish)


def test_metric_depth_is_requested_by_one_option(tmp_path):
    (tmp_path / "a.jpg").write_text("never read")
    with pytest.raises(InvalidInputError, match="--metric"):
        run("images", tmp_path, "--focal", 500)
    with pytest.raises(InvalidInputError, match="one of them"):
        run("images", tmp_path, "--metric", "--focal", 500, "--fov", 60)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--ref-view-strategy", "best", "choose 'first'"),
        ("--mixed-sizes", "squash", "choose 'crop'"),
        ("--conf-thresh-percentile", 400, "give a value from 0 to 100"),
    ],
)
def test_an_option_is_checked_also_where_it_has_nothing_to_say(tmp_path, option, value, message):
    with pytest.raises(InvalidInputError, match=message):
        run("images", tmp_path, "--model-dir", tmp_path / "never loaded", option, value)


def test_a_missing_workspace_is_reported(tmp_path):
    with pytest.raises(InvalidInputError, match=r"nowhere: no such folder$"):
        run("colmap", tmp_path / "nowhere")


def test_colmap_takes_images_beside_the_model_by_their_folders(small_checkpoint, tmp_path):
    """Two cameras whose images have the same names, and results of an earlier run within the workspace."""
    names = ("left/0000.png", "right/0000.png")
    for name in names:
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", SIZE[::-1]).save(tmp_path / name)
    matrix = np.array([[100.0, 0, 56], [0, 100, 42], [0, 0, 1]])
    model = SparseModel(names, np.stack([np.eye(4)] * 2), np.stack([matrix] * 2), (SIZE,) * 2)
    none = SparsePoints(np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty((0, 2)), np.zeros(2, np.int64))
    write_sparse_model(tmp_path / "sparse", model, none)
    for _ in range(2):
        result = run(
            "colmap", tmp_path, "--model-dir", small_checkpoint, "--export-dir", tmp_path / "out", "--process-res", 112,
            "--export-format", "depth_vis", "--device", "cpu", "--json",
        )  # fmt: skip
        assert json.loads(result.stdout)["images"] == 2
    with pytest.raises(InvalidInputError, match="typo: no such folder"):
        run("colmap", tmp_path, "--images-subdir", "typo")
