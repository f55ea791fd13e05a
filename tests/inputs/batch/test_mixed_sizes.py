"""Views of different sizes as one scene: cropped, padded, or rejected."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from depth_anything_3.errors import ShapeMismatchError
from depth_anything_3.utils.io.input_processor import InputProcessor

GREY = np.array([124, 116, 104])
RES = 112


@pytest.fixture
def images() -> list[np.ndarray]:
    """Landscape, portrait, landscape: at 112 pixels 70x112, 112x84, 70x112."""
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((70, 112), (112, 84), (70, 112))]


def prepare(images, mixed, **options):
    with InputProcessor() as processor:
        return processor(images, process_res=RES, mixed_sizes=mixed, **options)


def test_padding_keeps_every_pixel_and_adds_grey(images, caplog):
    with caplog.at_level(logging.WARNING):
        batch = prepare(images, "pad")
    assert "padded to 112x112" in caplog.text
    assert batch.pixels.shape == batch.tensor.shape == (3, 3, 112, 112)
    for image, pixels, tensor, window in zip(images, batch.pixels, batch.tensor, batch.windows, strict=True):
        inside = np.zeros((112, 112), bool)
        inside[window.top : window.top + window.height, window.left : window.left + window.width] = True
        np.testing.assert_array_equal(pixels.numpy()[:, inside].T.reshape(image.shape), image)
        np.testing.assert_array_equal(pixels.numpy()[:, ~inside], GREY[:, None].repeat((~inside).sum(), axis=1))
        assert (tensor.numpy()[:, ~inside] == 0).all()
        assert (tensor.numpy()[:, inside] != 0).mean() > 0.9


def test_cameras_follow_their_images_into_the_padding(images):
    matrix = np.array([[90.0, 0, 50], [0, 90, 30], [0, 0, 1]])
    batch = prepare(images, "pad", intrinsics=np.stack([matrix] * 3))
    np.testing.assert_allclose(batch.intrinsics[0], matrix + np.array([[0, 0, 0], [0, 0, 21], [0, 0, 0]]))
    np.testing.assert_allclose(batch.intrinsics[1], matrix + np.array([[0, 0, 14], [0, 0, 0], [0, 0, 0]]))


def test_images_of_one_size_are_not_padded(images):
    batch = prepare(images[::2], "pad")
    assert batch.tensor.shape == (2, 3, 70, 112)
    assert batch.windows == ()


def test_a_rejected_strategy_names_the_other_ones(images):
    with pytest.raises(ShapeMismatchError, match=r"112x70.*84x112.*'crop'.*'pad'"):
        prepare(images, "refuse")


def test_there_is_no_depth_where_a_view_was_padded(seeded_small, images):
    prediction = seeded_small.inference(images[:2], process_res=RES, mixed_sizes="pad")
    assert prediction.depth.shape == (2, 112, 112)
    assert (prediction.depth[0, :21] == 0).all()
    assert (prediction.depth[0, 91:] == 0).all()
    assert (prediction.depth[0, 21:91] > 0).all()
    assert (prediction.conf[0, :21] == 1).all()
    assert (prediction.depth[1, :, :14] == 0).all()
    assert (prediction.depth[1, :, 14:98] > 0).all()
