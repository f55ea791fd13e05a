"""Arguments of the Python API that would have no effect, and messages in its own words."""

from __future__ import annotations

import inspect
import logging
import re

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error, ExportError, ImageDecodeError, ImageReadError, InvalidInputError
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.prediction.metric import MetricConversion
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 1}
(IMAGE,) = seeded_images_uint8(1, 56, 56, seed=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"export_format": "obj", "export_dir": "x"}, "export_format='obj' is unknown", id="unknown"),
        pytest.param({"export_format": "", "export_dir": "x"}, "export_format='' is unknown", id="empty"),
    ],
)
def test_a_format_that_is_unknown_is_refused(seeded_small, given, message):
    with pytest.raises(InvalidInputError, match=message):
        seeded_small.inference([IMAGE], **given, **SMALL)


def test_the_default_format_is_upstreams():
    assert inspect.signature(DepthAnything3.inference).parameters["export_format"].default == "mini_npz"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"num_max_points": 5}, "num_max_points: no effect without export_dir", id="no-folder"),
        pytest.param(
            {"export_format": "glb"}, "export_format: no effect without export_dir: nothing is written", id="format"
        ),
        pytest.param({"export_format": "mini_npz"}, "export_format: no effect", id="equal-to-the-default"),
        pytest.param({"export_kwargs": {"glb": {}}}, r"export_kwargs\['glb'\]: no effect without", id="options"),
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
    assert [one.getMessage() for one in caplog.records] == [
        "use_ray_pose=True has no effect with da3-nano, which predicts no cameras"
    ]


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


def test_a_window_without_smoothing_by_windows_is_refused(seeded_small):
    with pytest.raises(InvalidInputError, match="window=8 is for temporal='window'"):
        seeded_small.stream_video([IMAGE], window=8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "https://example.com/a.jpg", None, "images are read from disk, .*; download it first", id="address"
        ),
        pytest.param("film.mp4", b"\0\0\0\x18ftypisom", r"a video .*; use `stream_video\(\)`\.", id="video"),
        pytest.param(
            "a.npz", b"PK\x03\x04" + bytes(22) + b"\x09\0\0\0depth.npy", r"`load_prediction\(\)`", id="results"
        ),
        pytest.param("folder", None, "is a folder; pass a list of its files", id="folder"),
    ],
)
def test_what_is_no_image_is_named_in_the_words_of_python(seeded_small, tmp_path, name, content, message):
    (tmp_path / "folder").mkdir()
    path = name if "://" in name else tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=message) as caught:
        seeded_small.depth([path], **SMALL)
    assert str(caught.value).startswith(str(path))
    assert not re.search(r"--[a-z]|\bda3 ", str(caught.value))


# The hint to skip an image


@pytest.fixture
def cut(tmp_path):
    path = tmp_path / "cut.png"
    Image.fromarray(IMAGE).save(path)
    path.write_bytes(path.read_bytes()[:60])
    return path


TO_SKIP, TO_DECODE = "To skip it, pass on_error='skip'", "To decode its intact part, pass allow_truncated=True"


@pytest.mark.parametrize("method", ["inference", "depth", "batch_inference", "iterate", "views", "video"])
def test_an_error_that_is_raised_says_how_to_skip_the_image(seeded_small, cut, method):
    def iterate(images, **options):
        return list(seeded_small.input_processor.iterate(images, **options))

    def video(images, **options):
        return list(seeded_small.stream_video(images, **options))

    calls = {"iterate": iterate, "views": seeded_small.input_processor, "video": video}
    call = calls.get(method) or getattr(seeded_small, method)
    with pytest.raises(ImageDecodeError) as caught:
        call([cut], **SMALL)
    assert str(caught.value).endswith(f"{TO_DECODE}. {TO_SKIP}")
    assert caught.value.__cause__ is not None


def test_an_error_of_a_skipped_image_does_not(seeded_small, cut, caplog):
    failures: list[DA3Error] = []
    seeded_small.depth([cut, IMAGE], on_error="skip", on_failure=lambda one: failures.append(one.error), **SMALL)
    prediction = seeded_small.inference([cut, IMAGE], on_error="skip", **SMALL)
    failures += [one.error for one in prediction.failures]
    with pytest.raises(ImageDecodeError) as all_failed:
        seeded_small.inference([cut], on_error="skip", **SMALL)
    assert len(failures) == 2
    for error in (*failures, all_failed.value):
        assert str(error).endswith(TO_DECODE)


def test_a_live_video_that_skips_frames_does_not(seeded_small, cut):
    failures: list[DA3Error] = []
    frames = seeded_small.stream_video(
        [cut, IMAGE], mode="live", on_error="skip", on_failure=lambda one: failures.append(one.error), **SMALL
    )
    with frames:
        list(frames)
    assert all(str(error).endswith(TO_DECODE) for error in failures)
