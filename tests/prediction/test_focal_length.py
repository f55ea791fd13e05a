"""The focal length of images that were resized, cropped or zoomed."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from depth_anything_3.inputs.exif import write_block
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.focal_length import exif_focal_length
from depth_anything_3.prediction.metric import MetricConversion

FULL_FRAME = math.hypot(36, 24)
PHONE = {0xA405: 26, 0xA002: 4000, 0xA003: 3000}
# 24 mm on a full frame of 36x24 mm with 6000x4000 pixels: 4000 pixels.
CAMERA = {0x920A: 24.0, 0xA20E: 6000 / 3.6, 0xA210: 3, 0xA002: 6000, 0xA003: 4000}
WHOLE = 26 * 5000 / FULL_FRAME  # of the phone, in pixels


def found(entries, width, height, orientation=1):
    return exif_focal_length(write_block(orientation, entries), (height, width))


@pytest.mark.parametrize(
    ("entries", "size", "pixels"),
    [
        pytest.param({0xA405: 26}, (4000, 3000), WHOLE, id="no sizes in Exif"),
        pytest.param(PHONE, (4000, 3000), WHOLE, id="as taken"),
        pytest.param(PHONE, (3000, 4000), WHOLE, id="pixels were turned, Exif was not"),
        pytest.param(PHONE, (2000, 1500), WHOLE / 2, id="half the size"),
        pytest.param(PHONE, (1333, 1000), WHOLE / 3, id="a third, rounded"),
        pytest.param(PHONE, (504, 378), WHOLE * 0.126, id="the network's size"),
        pytest.param(PHONE, (8000, 6000), WHOLE * 2, id="enlarged"),
        pytest.param(PHONE, (3000, 2250), WHOLE * 0.75, id="as wide as it was high"),
        pytest.param(PHONE, (3000, 3000), WHOLE, id="a square was cut out"),
        pytest.param(PHONE, (4000, 2250), WHOLE, id="16:9 was cut out"),
        pytest.param(PHONE, (4000, 2000), WHOLE, id="half was cut off"),
        pytest.param(PHONE, (1000, 3000), WHOLE, id="a strip was cut out"),
        pytest.param(CAMERA, (6000, 4000), 4000, id="sensor"),
        pytest.param(CAMERA, (4000, 6000), 4000, id="sensor, turned"),
        pytest.param(CAMERA, (3000, 2000), 2000, id="sensor, half the size"),
        pytest.param(CAMERA, (4000, 4000), 4000, id="sensor, a square was cut out"),
        pytest.param(CAMERA | {0xA404: 2.0}, (6000, 4000), 8000, id="sensor and digital zoom"),
        pytest.param(CAMERA | {0xA404: 1.0}, (6000, 4000), 4000, id="sensor, zoom of 1"),
        pytest.param(CAMERA | {0xA404: 0.0}, (6000, 4000), 4000, id="sensor, zoom of 0: not used"),
        pytest.param(CAMERA | {0xA405: 24}, (6000, 4000), 4000, id="both"),
        pytest.param(CAMERA | {0xA405: 48, 0xA404: 2.0}, (6000, 4000), 8000, id="both, equivalent with zoom"),
        pytest.param(CAMERA | {0xA405: 24, 0xA404: 2.0}, (6000, 4000), 8000, id="both, equivalent without zoom"),
        pytest.param(CAMERA | {0xA405: 24, 0xA404: 2.0}, (4000, 4000), 8000, id="both, without zoom, cropped"),
    ],
)
def test_a_resized_cropped_or_zoomed_image_has_the_right_focal_length(entries, size, pixels):
    focal = found(entries, *size)
    assert focal.pixels == pytest.approx(pixels, rel=2e-3)
    assert focal.doubt == ""
    cropped = ((3000, 3000), (4000, 2250), (4000, 2000), (1000, 3000), (4000, 4000))
    assert ("before cropping" in focal.origin) == (size in cropped)


@pytest.mark.parametrize(
    ("entries", "size", "pixels", "why"),
    [
        pytest.param(PHONE, (1080, 1080), WHOLE * 0.36, "4000x3000 .* 1080x1080", id="cropped and resized"),
        pytest.param(PHONE, (1080, 1350), WHOLE * 0.36, "4000x3000", id="portrait, cropped and resized"),
        pytest.param(PHONE, (9000, 3000), WHOLE, "4000x3000", id="panorama"),
        pytest.param(PHONE, (2250, 3000), WHOLE, "4000x3000", id="3:4 cut out of 4:3, or turned and resized"),
        pytest.param({0xA405: 52, 0xA404: 2.0}, (4000, 3000), WHOLE * 2, "digital zoom of 2", id="zoom"),
        pytest.param(CAMERA | {0xA405: 24, 0xA002: 3000, 0xA003: 2000}, (3000, 2000), 2000, "2.00 times", id="both"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_is_a_doubt(entries, size, pixels, why):
    focal = found(entries, *size)
    assert focal.pixels == pytest.approx(pixels, rel=2e-3)
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(focal.doubt)


def test_the_orientation_decides_which_side_is_which():
    # Stored 4000x2000, upright 2000x4000: cut out of 4000x3000. Without the orientation, also out of 3000x4000.
    assert found(PHONE, 2000, 4000, orientation=6).doubt == ""
    assert found(PHONE, 2250, 3000, orientation=8).pixels == pytest.approx(WHOLE * 0.75)
    assert found(PHONE, 2250, 3000, orientation=8).doubt == ""


def test_a_doubt_is_logged_once_and_names_the_file(caplog):
    blocks = (write_block(1, PHONE), write_block(1, PHONE))
    prediction = Prediction(
        depth=np.ones((2, 56, 56), np.float32), sources=("good.jpg", "square.jpg"), exif=blocks,
        source_hw=((3000, 4000), (1080, 1080)), source_scale=((0.1, 0.1),) * 2, depth_kind=DepthKind.CANONICAL,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        metric, origins = MetricConversion().apply(prediction)
    (record,) = caplog.records
    assert "square.jpg" in record.getMessage()
    assert "--focal or --fov" in record.getMessage()
    assert origins == ("Exif, 35 mm equivalent", "Exif, 35 mm equivalent, before cropping, doubtful")
    np.testing.assert_allclose(metric.depth[:, 0, 0], np.array([WHOLE, WHOLE * 0.36]) * 0.1 / 300, rtol=1e-3)
    caplog.clear()
    MetricConversion(focal=1000.0).apply(prediction)
    assert not caplog.records


@pytest.mark.parametrize("value", [0, 1, 65535])
@pytest.mark.parametrize("tag", [0xA002, 0xA003, 0xA404, 0xA405, 0xA20E, 0xA210, 0x920A])
def test_absurd_entries_raise_nothing(tag, value):
    for size in ((1, 1), (4000, 3000), (1, 100_000)):
        focal = found(CAMERA | {0xA405: 24, 0xA404: 2.0, tag: value}, *size)
        assert focal is None or math.isfinite(focal.pixels)
