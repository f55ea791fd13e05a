"""`da3 colmap`: cameras of a sparse model for files that are rotated, smaller, or others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ImageDecodeError, ImageReadError, ImageSizeError, InvalidInputError
from depth_anything_3.export.colmap import Pairing, given_cameras
from depth_anything_3.inputs.options import PreprocessOptions

K = np.array([[100.0, 0, 60], [0, 110, 40], [0, 0, 1]])


def pairing(paths: list[Path], sizes: list[tuple[int, int]]) -> Pairing:
    count = len(paths)
    return Pairing(tuple(paths), np.stack([np.eye(4)] * count), np.stack([K] * count), tuple(sizes), (), ())


def draw_image(path: Path, width: int, height: int, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height)).save(path, exif=exif)
    return path


def test_files_as_the_model_saw_them(tmp_path):
    exif, matrices = given_cameras(pairing([draw_image(tmp_path / "a.jpg", 120, 80)], [(80, 120)]))
    assert exif == "ignore"  # which makes no difference
    np.testing.assert_array_equal(matrices[0], K)


def test_smaller_copies_have_smaller_focal_lengths(tmp_path):
    _, matrices = given_cameras(pairing([draw_image(tmp_path / "a.jpg", 60, 40)], [(80, 120)]))
    np.testing.assert_allclose(matrices[0], [[50, 0, 30], [0, 55, 20], [0, 0, 1]])


def test_a_model_of_unturned_files_wants_them_unturned(tmp_path):
    path = draw_image(tmp_path / "a.jpg", 120, 80, orientation=6)
    assert given_cameras(pairing([path], [(80, 120)]))[0] == "ignore"
    assert given_cameras(pairing([path], [(120, 80)]))[0] == "apply"


@pytest.mark.parametrize(("size_hw", "orientation"), [((80, 120), 3), ((80, 80), 6)])
def test_files_rotated_to_the_same_size_are_read_unrotated_as_colmap_does(tmp_path, size_hw, orientation):
    path = draw_image(tmp_path / "a.jpg", size_hw[1], size_hw[0], orientation)
    assert given_cameras(pairing([path], [size_hw]))[0] == "ignore"


def test_an_image_of_too_many_pixels_is_named(tmp_path):
    with pytest.raises(ImageSizeError, match=r"a\.jpg: the header states 120x80 pixels, more than the limit of 100"):
        given_cameras(
            pairing([draw_image(tmp_path / "a.jpg", 120, 80)], [(80, 120)]), PreprocessOptions(max_pixels=100)
        )


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ImageReadError, match=r"a\.jpg: not a regular file"):
        given_cameras(pairing([tmp_path / "a.jpg"], [(80, 120)]))


def test_other_images_are_rejected_by_name(tmp_path):
    with pytest.raises(InvalidInputError, match=r"a\.jpg is 100x100, but 120x80 in the sparse model"):
        given_cameras(pairing([draw_image(tmp_path / "a.jpg", 100, 100)], [(80, 120)]))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ImageReadError, match=r"gone\.jpg"):
        given_cameras(pairing([tmp_path / "gone.jpg"], [(80, 120)]))
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(ImageDecodeError, match=r"text\.jpg"):
        given_cameras(pairing([tmp_path / "text.jpg"], [(80, 120)]))
