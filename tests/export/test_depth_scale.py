"""`depth_png` with a fixed scale: values that can be compared between files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import AvailableFields, ExportOptions, check_formats, export
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.prediction import Prediction

MILLIMETRES = ExportOptions(depth_scale=1000)


def metric(*depths: float) -> Prediction:
    return Prediction(depth=np.array([[depths]], np.float32), is_metric=1)


def test_values_are_millimetres(tmp_path):
    (path,) = export(metric(0.5, 1.2344, 65.535), tmp_path, "depth_png", "a", MILLIMETRES)
    with Image.open(path) as image:
        assert np.asarray(image).tolist() == [[500, 1234, 65535]]
        assert (float(image.text["depth_scale"]), image.text["depth_unit"]) == (0.001, "metre")


def test_depth_that_16_bits_cannot_hold_is_invalid_and_reported(tmp_path, caplog):
    (path,) = export(metric(65.6, 1e6, 0.0004, np.nan, 0, 0.0006, 2, 3), tmp_path, "depth_png", "a", MILLIMETRES)
    with Image.open(path) as image:
        assert np.asarray(image).tolist() == [[0, 0, 0, 0, 0, 1, 2000, 3000]]
    assert "a.png: 37.5 % of the pixels are not from 0.0005 to 65.535" in caplog.text


def test_relative_depth_is_refused_unless_forced(tmp_path):
    relative = Prediction(depth=np.full((1, 2, 3), 2.5, np.float32))
    with pytest.raises(
        UnsupportedError, match=r"depth_scale=1000: depth of this prediction is not metric.*force_depth_scale=True"
    ):
        export(relative, tmp_path, "depth_png", "a", MILLIMETRES)
    assert list(tmp_path.iterdir()) == []
    (path,) = export(relative, tmp_path, "depth_png", "a", ExportOptions(depth_scale=10, force_depth_scale=True))
    with Image.open(path) as image:
        assert np.unique(image).tolist() == [25]
        assert image.text["depth_unit"] == "relative"


@pytest.mark.parametrize(
    ("preset", "converted", "accepted"),
    [
        pytest.param("da3-base", False, False, id="relative"),
        pytest.param("da3metric-large", False, False, id="canonical"),
        pytest.param("da3metric-large", True, True, id="converted"),
        pytest.param("da3nested-giant-large", False, True, id="metric"),
    ],
)
def test_it_is_refused_before_anything_is_computed(preset, converted, accepted):
    available = AvailableFields.expected(MODEL_CARDS[preset], metric=converted)
    if accepted:
        check_formats("depth_png", available, MILLIMETRES)
        return
    with pytest.raises(UnsupportedError, match=f"depth of {preset} is not metric"):
        check_formats("depth_png", available, MILLIMETRES)


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_a_scale_that_is_none_is_quoted(scale):
    with pytest.raises(InvalidInputError, match=r"depth_scale=.*values per unit of depth"):
        ExportOptions(depth_scale=scale)
