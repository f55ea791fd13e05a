"""Arguments of the Python API that would have no effect, and messages in its own words."""

from __future__ import annotations

import inspect
import logging
import re

import numpy as np
import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.prediction.metric import MetricConversion
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 1}
(IMAGE,) = seeded_images_uint8(1, 56, 56, seed=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"export_format": "glb"}, "export_format without export_dir: nothing would be written", id="format"
        ),
        pytest.param(
            {"export_format": "mini_npz"}, "pass export_dir, or omit export_format", id="equal-to-the-default"
        ),
        pytest.param({"export_format": ["npz"]}, "export_format without export_dir", id="list"),
        pytest.param({"export_kwargs": {"glb": {}}}, "export_kwargs without export_dir", id="options"),
        pytest.param({"export_format": "obj", "export_dir": "x"}, "export_format='obj' is unknown", id="unknown"),
        pytest.param({"export_format": "", "export_dir": "x"}, "export_format='' is unknown", id="empty"),
    ],
)
def test_a_format_without_a_folder_is_refused(seeded_small, given, message):
    with pytest.raises(InvalidInputError, match=message):
        seeded_small.inference([IMAGE], **given, **SMALL)


def test_the_default_format_is_upstreams():
    assert inspect.signature(DepthAnything3.inference).parameters["export_format"].default == "mini_npz"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"num_max_points": 5}, "num_max_points: no effect without export_dir", id="no-folder"),
        pytest.param(
            {"num_max_points": 5, "render_hw": (8, 8), "export_dir": "", "export_format": "npz"},
            "num_max_points, render_hw: no effect for npz",
            id="other-format",
        ),
        pytest.param(
            {"export_kwargs": {"glb": {"camera_size": 1.0}}, "export_dir": "", "export_format": "npz"},
            r"export_kwargs\['glb'\]: no effect for npz",
            id="options-of-another-format",
        ),
        pytest.param({"render_exts": np.ones((1, 4, 4))}, "render_exts: no effect", id="array"),
        pytest.param(
            {"align_to_input_ext_scale": False}, "align_.*=False has no effect without extrinsics", id="align"
        ),
    ],
)
def test_options_without_effect_are_named(seeded_small, tmp_path, caplog, given, message):
    if "export_dir" in given:
        given = {**given, "export_dir": tmp_path}
    with caplog.at_level(logging.WARNING):
        seeded_small.inference([IMAGE], **given, **SMALL)
    (record,) = caplog.records
    assert re.search(message, record.getMessage())


def test_rays_of_a_model_without_cameras_are_named(caplog):
    nano = DepthAnything3.from_pretrained("da3-nano", "cpu")
    nano.inference([IMAGE], use_ray_pose=True, **SMALL)
    named, demonstration = (one.getMessage() for one in caplog.records)
    assert named == "use_ray_pose=True has no effect with da3-nano, which predicts no cameras"
    assert demonstration.startswith("da3-nano is a demonstration: ")


def test_a_focal_length_for_depth_that_is_metric_already_is_named(caplog):
    MetricConversion(fov=60.0).check(MODEL_CARDS["da3nested-giant-large"])
    MetricConversion(fov=60.0).check(MODEL_CARDS["da3metric-large"])
    assert [one.getMessage() for one in caplog.records] == [
        "fov= has no effect: depth of da3nested-giant-large is metric already"
    ]


def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_read(seeded_small, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(ExportError, match="out: a file, so results cannot be written there; give a folder"):
        seeded_small.inference(["gone.jpg"], export_dir=tmp_path / "out", **SMALL)
