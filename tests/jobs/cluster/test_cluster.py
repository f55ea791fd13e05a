"""The callables for clusters: rows in, rows out, in order; results as `da3 images` writes them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from depth_anything_3.errors import CheckpointError, InvalidInputError
from depth_anything_3.jobs.cluster import DepthPredictor, DepthPreprocessor
from support.images import encoded, jpeg, write
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8

RES = 70
COLUMNS = [
    *("id", "depth", "depth_scale", "unit", "height", "width", "model", "da3_version", "warnings", "error", "ms"),
]


@pytest.fixture(scope="module")
def photos():
    """Two large images, of which the network sees less, and a damaged one between them."""
    return {
        "a": jpeg(240, 160, 1),
        "bad": jpeg()[:300],
        "c": encoded(seeded_images_uint8(1, 200, 120, seed=1)[0], "PNG"),
    }


@pytest.fixture
def predictor(small_checkpoint):
    return DepthPredictor(str(small_checkpoint), process_res=RES, num_workers=2)


@pytest.fixture
def written(seeded_small, photos, tmp_path):
    """What `da3 images` writes for the images."""
    files = [write(tmp_path / f"{name}.jpg", data) for name, data in photos.items()]
    run_images(seeded_small, files, tmp_path / "out", "depth_png", on_error="skip", process_res=RES, num_workers=2)
    return {path.stem: path.read_bytes() for path in (tmp_path / "out" / "depth_png").iterdir()}


def test_rows_keep_their_order_and_a_bad_one_says_why(predictor, photos, written):
    batch = {"id": [*photos, "none"], "bytes": [*photos.values(), None], "other": [1, 2, 3, 4]}
    rows = pickle.loads(pickle.dumps(predictor))(batch)
    assert list(rows) == COLUMNS
    assert rows["id"] == ["a", "bad", "c", "none"]
    assert rows["depth"] == [written["a"], None, written["c"], None]
    errors = [one and one.partition(":")[0] for one in rows["error"]]
    assert errors == [None, "ImageDecodeError", None, "ImageTypeError"]
    assert rows["unit"] == ["relative", None, "relative", None]
    assert (rows["height"], rows["width"]) == ([42, None, 70, None], [70, None, 42, None])
    assert [one > 0 for one in rows["ms"]] == [True, False, True, False]
    assert rows["depth_scale"][0] > 0


def test_preprocessed_rows_give_the_same_bytes(predictor, photos, written):
    shrink = pickle.loads(pickle.dumps(DepthPreprocessor(RES)))
    small = shrink({"id": list(photos), "jpg": np.array(list(photos.values()), object)})
    assert [one and len(one) for one in small["pixels"]] == [3 * 42 * 70, None, 3 * 42 * 70]
    rows = predictor(small)
    assert rows["depth"] == [written["a"], None, written["c"]]
    assert rows["error"] == small["error"]
    assert rows["error"][1].startswith("ImageDecodeError: bad: ")


def test_the_columns_of_engines_are_understood(predictor, photos, written, tmp_path):
    path = write(tmp_path / "a.bin", photos["a"])
    batches = [
        ({"image": [{"bytes": photos["a"], "path": "x/a.jpg"}]}, "x/a.jpg"),
        ({"image": [{"bytes": None, "path": str(path)}]}, str(path)),
        ({"path": np.array([str(path)])}, str(path)),
        ({"__key__": ["k"], "jpg": [photos["a"]]}, "k"),
        ({"bytes": [memoryview(photos["a"])]}, "0"),
    ]
    for batch, id in batches:
        rows = predictor(batch)
        assert (rows["id"], rows["depth"], rows["error"]) == ([id], [written["a"]], [None])
    pixels = seeded_images_uint8(1, 200, 120, seed=1)
    assert predictor({"image": pixels})["depth"] == [written["c"]]
    assert predictor({"id": [], "bytes": []}) == {name: [] for name in COLUMNS}


def test_what_no_row_can_be_blamed_for_is_raised(predictor, photos, tmp_path):
    with pytest.raises(InvalidInputError, match="the batch has the columns x; one of bytes"):
        predictor({"x": [1]})
    with pytest.raises(CheckpointError):
        DepthPredictor(str(tmp_path))({"bytes": [photos["a"]]})
    with pytest.raises(InvalidInputError, match="colmap has several"):
        DepthPredictor("da3-small", outputs=("colmap",))
    with pytest.raises(InvalidInputError, match="num_threads=0"):
        DepthPredictor("da3-small", num_threads=0)


def test_pixels_that_do_not_fit_their_size_cost_their_row(predictor):
    rows = predictor({"pixels": [b"123", None], "pixels_height": [1, 1], "pixels_width": [2, 1]})
    assert [one.partition(":")[0] for one in rows["error"]] == ["ImageTypeError", "ImageTypeError"]
