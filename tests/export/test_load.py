"""Results read back into a prediction."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import export, load_prediction


@pytest.mark.parametrize(("kind", "has_images"), [("npz", True), ("mini_npz", False)])
def test_a_result_comes_back_as_it_was_written(plane_scene, tmp_path, kind, has_images):
    (path,) = export(plane_scene, tmp_path, kind)
    loaded = load_prediction(path)
    np.testing.assert_allclose(loaded.depth, plane_scene.depth, atol=6e-7)
    np.testing.assert_allclose(loaded.conf, plane_scene.conf, atol=6e-3)
    np.testing.assert_array_equal(loaded.extrinsics, plane_scene.extrinsics)
    np.testing.assert_array_equal(loaded.intrinsics, plane_scene.intrinsics)
    assert (loaded.processed_images is not None) == has_images
    assert loaded.depth.dtype == loaded.conf.dtype == np.float32
    assert loaded.sources == tuple(map(os.path.basename, plane_scene.sources))


def test_a_loaded_result_can_be_written_in_other_formats(plane_scene, tmp_path, off_plane):
    (path,) = export(plane_scene, tmp_path, "npz")
    written = export(load_prediction(path), tmp_path / "more", "glb-ply-depth_vis-tiff")
    assert (tmp_path / "more" / "scene.glb") in written
    again = load_prediction(export(load_prediction(path), tmp_path / "again", "npz")[0])
    np.testing.assert_array_equal(again.depth, load_prediction(path).depth)


def test_what_a_loaded_result_lacks_is_reported(plane_scene, tmp_path):
    (path,) = export(plane_scene, tmp_path, "mini_npz")
    with pytest.raises(InvalidInputError, match=r"depth_vis needs the images.* a mini_npz does not"):
        export(load_prediction(path), tmp_path, "depth_vis")
    with pytest.raises(InvalidInputError, match="colmap needs the images"):
        export(load_prediction(path), tmp_path, "colmap")


DEPTH = np.ones((1, 3, 4), np.float32)


def save(path, **arrays):
    np.savez(path, **arrays)


def save_array(path):
    with path.open("wb") as file:
        np.save(file, DEPTH)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "not an .npz archive", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(b"\xff\xd8\xff" * 99), "not an .npz archive, or a truncated", id="jpeg"
        ),
        pytest.param(lambda path: path.write_bytes(pickle.dumps([1])), "not an .npz archive", id="pickle"),
        pytest.param(lambda path: save_array(path), "not an .npz archive", id="npy"),
        pytest.param(lambda path: save(path, conf=DEPTH), "has no depth, only conf", id="no-depth"),
        pytest.param(
            lambda path: save(path, depth=np.array([{}])), "not an .npz archive of plain arrays", id="objects"
        ),
        pytest.param(lambda path: save(path, depth=DEPTH[0]), r"depth is float32\[3, 4\]", id="axes"),
        pytest.param(lambda path: save(path, depth=DEPTH[:0]), r"depth is float32\[0, 3, 4\]", id="no-views"),
        pytest.param(lambda path: save(path, depth=DEPTH > 0), r"depth is bool", id="type"),
        pytest.param(lambda path: save(path, depth=DEPTH, conf=DEPTH[:, 1:]), "conf.* does not match depth", id="conf"),
        pytest.param(
            lambda path: save(path, depth=DEPTH, extrinsics=np.ones((1, 2, 4))),
            "extrinsics.* does not match",
            id="poses",
        ),
        pytest.param(
            lambda path: save(path, depth=DEPTH, image=np.ones((1, 3, 4, 3), np.float32)),
            "image is float32",
            id="image",
        ),
        pytest.param(lambda path: path.mkdir(), "not a regular file", id="folder"),
        pytest.param(lambda path: None, "no such file", id="missing"),
    ],
)
def test_what_is_no_result_is_reported(tmp_path, make, message):
    path = tmp_path / "wrong ü.npz"
    make(path)
    with pytest.raises(InvalidInputError, match=f"wrong ü.npz: .*{message}"):
        load_prediction(path)


def test_a_truncated_or_damaged_result_is_reported(plane_scene, tmp_path):
    (path,) = export(plane_scene, tmp_path, "npz")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 25):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidInputError, match=r"results\.npz"):
            load_prediction(path)
    for place in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_prediction(path)  # a date or the like may be what was damaged
        except InvalidInputError as error:
            assert "results.npz" in str(error)
