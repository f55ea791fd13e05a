"""`depth_png` is compressed fast, and not worse."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.export import export


def test_a_file_is_as_small_as_pillow_makes_it(tmp_path):
    prediction = DepthAnything3.from_pretrained("da3-nano", device="cpu").depth([photo(640, 480, 3)])
    (path,) = export(prediction[0], tmp_path, "depth_png", "a")
    with Image.open(path) as image:
        image.load()
        usual = io.BytesIO()
        image.save(usual, "PNG")
        assert np.asarray(image).dtype == np.uint16
    assert path.stat().st_size < 1.01 * len(usual.getvalue())
