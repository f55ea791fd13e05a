"""`Prediction.save`: one file by its suffix, or a folder."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError, UnsupportedError
from depth_anything_3.export import ExportOptions, load_prediction
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.prediction import Prediction

DEPTH = np.linspace(1, 9, 2 * 28 * 42, dtype=np.float32).reshape(2, 28, 42)


def views(count: int, **fields) -> Prediction:
    images = np.full((count, 28, 42, 3), 90, np.uint8)
    return Prediction(depth=DEPTH[:count], processed_images=images, **fields)


@pytest.mark.parametrize(
    ("name", "format_name", "kind", "mode"),
    [
        ("a.png", None, "PNG", "RGB"),
        ("a.PNG", "depth_png", "PNG", "I;16"),
        ("a.jpg", None, "JPEG", "RGB"),
        ("new folder/a.jpeg", "depth_vis", "JPEG", "RGB"),
        ("a b.v2.tif", None, "TIFF", "F"),
    ],
)
def test_the_suffix_and_the_format_decide_what_a_file_holds(tmp_path, name, format_name, kind, mode):
    path = tmp_path / name
    assert views(1).save(path, format_name) == [path]
    with Image.open(path) as image:
        assert (image.format, image.mode) == (kind, mode)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]  # nothing temporary


def test_options_reach_the_writer(tmp_path):
    views(1).save(str(tmp_path / "a.png"), options=ExportOptions(colormap="turbo"))
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), colorize_depth(DEPTH[0], colormap="turbo"))


def test_a_file_that_holds_all_views_takes_them(tmp_path):
    (path,) = views(2).save(tmp_path / "scene.npz")
    np.testing.assert_allclose(load_prediction(path).depth, DEPTH, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "formats", "expected"),
    [
        ({"sources": ("/photos/a b.jpg",)}, None, ["depth_color/a b.png", "npz/a b.npz"]),
        ({"sources": ("image 0 (ndarray)",)}, "tiff-depth_vis", ["depth_vis/0000.jpg", "tiff/0000.tiff"]),
        ({"count": 2, "sources": ("a.jpg", "b.jpg")}, "tiff", ["tiff/0000.tiff", "tiff/0001.tiff"]),
    ],
)
def test_a_folder_gets_the_layout_of_export(tmp_path, fields, formats, expected):
    written = views(**{"count": 1, **fields}).save(tmp_path / "results", formats)
    assert sorted(one.relative_to(tmp_path / "results").as_posix() for one in written) == expected
    assert all(one.is_file() for one in written)


def test_images_of_one_stem_do_not_replace_each_other(tmp_path):
    for suffix in ("jpg", "png"):
        (tmp_path / f"a.{suffix}").touch()
    names = [views(1, sources=(str(tmp_path / f"a.{one}"),)).save(tmp_path, "tiff")[0].name for one in ("jpg", "png")]
    assert names == ["a.jpg.tiff", "a.png.tiff"]


@pytest.mark.parametrize(
    ("name", "formats", "count", "message"),
    [
        ("a.gif", None, 1, r"a\.gif: the suffix '\.gif' is unknown; give one of \.png, \.jpg.*, or name a format"),
        ("a.jpg", "depth_png", 1, r"a\.jpg: files of depth_png end in \.png"),
        (
            "a.npz",
            "npz-tiff",
            1,
            r"a\.npz: npz-tiff writes several files; choose one format with one, or give a folder",
        ),
        ("a.bin", "colmap", 1, r"a\.bin: colmap writes several files"),
        ("a.png", "png", 1, "'png' is unknown; did you mean 'depth_png'"),
        ("a.tiff", None, 2, r"a\.tiff: tiff has one file per view, and the prediction has 2 views; give a folder"),
    ],
)
def test_what_one_file_cannot_hold_is_refused(tmp_path, name, formats, count, message):
    with pytest.raises(InvalidInputError, match=message):
        views(count).save(tmp_path / name, formats)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_field_and_a_file_in_the_way_are_named(tmp_path):
    with pytest.raises(UnsupportedError, match="ply needs the camera's focal length"):
        views(1).save(tmp_path / "a.ply")
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"file/a\.png: cannot be written"):
        views(1).save(tmp_path / "file" / "a.png")
    with pytest.raises(ExportError, match=r"file: a file"):
        views(1).save(tmp_path / "file" / "folder")
