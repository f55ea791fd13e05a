"""`depth_png` is compressed fast, and not worse."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.export import export
from depth_anything_3.prediction import Prediction


def usual_size(path) -> int:
    """The size of the same pixels as Pillow compresses them by default."""
    content = io.BytesIO()
    with Image.open(path) as image:
        assert np.asarray(image).dtype == np.uint16
        image.save(content, "PNG")
    return len(content.getvalue())


def test_a_file_is_as_small_as_pillow_makes_it(tmp_path):
    prediction = DepthAnything3.from_pretrained("da3-nano", device="cpu").depth([photo(640, 480, 3)])
    (path,) = export(prediction[0], tmp_path, "depth_png", "a")
    assert path.stat().st_size < 1.01 * usual_size(path)


def test_repeats_are_not_searched_for(tmp_path):
    """That takes most of the time, and depth has hardly any."""
    noise = np.random.default_rng(0).uniform(1, 2, (100, 100)).astype(np.float32)
    (path,) = export(Prediction(depth=np.tile(noise, (4, 1))[None]), tmp_path, "depth_png", "a")
    assert path.stat().st_size > 2 * usual_size(path)
