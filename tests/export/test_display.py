"""A prediction as an image, as a plot and in a notebook."""

from __future__ import annotations

import base64
import io
import re
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.prediction import Prediction

HEIGHT, WIDTH = 28, 42


def views(count: int, **fields) -> Prediction:
    depth = np.linspace(1, 9, count * HEIGHT * WIDTH, dtype=np.float32).reshape(count, HEIGHT, WIDTH)
    return Prediction(depth=depth, processed_images=np.full((count, HEIGHT, WIDTH, 3), 90, np.uint8), **fields)


def test_an_image_is_the_coloured_depth_of_a_view():
    scene = views(2)
    image = scene.to_image(-1, colormap="viridis", depth_range=(1, 20))
    assert image.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(image, colorize_depth(scene.depth[1], (1 / 20, 1), "viridis"))
    np.testing.assert_array_equal(views(1).to_image(), colorize_depth(views(1).depth[0]))


@pytest.mark.parametrize("index", [None, 2, -3])
def test_a_view_must_be_chosen_of_several(index):
    with pytest.raises(InvalidInputError, match=rf"index={index}: the prediction has 2 view\(s\); give 0 to 1"):
        views(2).to_image(index)


@pytest.fixture
def pyplot():
    mpl.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_a_plot_has_image_and_depth_of_each_view(pyplot):
    figure = views(2, sources=("a.jpg", "b $x_1$.jpg"), is_metric=1).plot()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["a.jpg", "depth (metre)", "b $x_1$.jpg", "depth (metre)"]
    figure.savefig(io.BytesIO())
    bars = [axes for axes in figure.axes if not axes.get_title()]
    labels = [float(one.get_text()) for one in bars[0].get_yticklabels()]
    assert labels == sorted(labels, reverse=True)  # near is at the top
    assert min(labels) >= 0.9
    assert max(labels) <= 5.1
    assert len(views(2).plot(1).axes) == 3


def test_a_plot_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UnsupportedError, match=r"plot\(\) needs matplotlib: pip install matplotlib"):
        views(1).plot()


def thumbnails(text: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_a_notebook_shows_image_and_depth_with_an_escaped_label():
    text = views(1, sources=("<b>&.jpg",))._repr_html_()
    (image,) = thumbnails(text)
    assert image.size == (2 * WIDTH, HEIGHT)
    pixels = np.asarray(image, np.float32)
    assert np.abs(pixels[:, : WIDTH - 16] - 90).max() < 4
    assert "&lt;b&gt;&amp;.jpg" in text
    assert "<b>" not in text


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (12, 8)])
def test_a_notebook_gets_less_than_100_kb(count, shown):
    rng = np.random.default_rng(0)  # noise, which JPEG does not compress
    images = rng.integers(0, 256, (count, 280, 420, 3), dtype=np.uint8)
    depth = rng.uniform(1, 9, images.shape[:3]).astype(np.float32)
    text = Prediction(depth=depth, processed_images=images, sources=("x" * 4000,) * count)._repr_html_()
    assert len(text) < 100_000
    assert len(thumbnails(text)) == shown
    assert ("and 4 more view(s)" in text) == (count > shown)


def test_a_notebook_shows_a_prediction_without_images():
    (image,) = thumbnails(Prediction(depth=np.zeros((1, HEIGHT, WIDTH), np.float32))._repr_html_())
    assert image.size == (WIDTH, HEIGHT)
