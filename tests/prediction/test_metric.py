"""Metric depth: the focal length that is used, what it makes of depth, and what is rejected."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import load_prediction
from depth_anything_3.jobs.video.results import VideoResults
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.focal_length import exif_focal_length
from depth_anything_3.prediction.metric import MetricConversion
from support.jobs import run_images, run_video, run_views

CANONICAL = 2.0  # the depth that the stand-in sees everywhere
FOCAL_LENGTH, FOCAL_35MM, PLANE_RESOLUTION, PLANE_UNIT, EXIF_WIDTH = 0x920A, 0xA405, 0xA20E, 0xA210, 0xA002
SMALL = {"process_res": 84}


class Wall(nn.Module):
    """A metric network in front of a wall: the same depth everywhere."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def check_options(self, **options):
        """Takes what there is."""

    def forward(self, x, **options):
        depth = x.new_full((*x.shape[:2], *x.shape[3:]), CANONICAL)
        return {"depth": depth, "sky": torch.zeros_like(depth)}


@pytest.fixture(scope="module")
def metric() -> DepthAnything3:
    with torch.device("meta"):
        model = DepthAnything3("da3-small")
    model.model, model.model_name = Wall(), "da3metric-large"
    return model


def jpeg(width: int = 168, height: int = 112, orientation: int = 1, **lens) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({globals()[name]: value for name, value in lens.items()})
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 60)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def metres(prediction: Prediction, **how) -> float:
    depth = prediction.metric_depth(**how)
    assert depth.dtype == np.float32
    assert depth.min() == depth.max()
    return float(depth.max())


# Sources of the focal length. Preprocessing halves the image, and with it the focal length.


def test_a_given_focal_length_is_in_pixels_of_the_file(metric):
    (prediction,) = metric.depth([jpeg()], **SMALL)
    assert metres(prediction, focal=600.0) == pytest.approx(CANONICAL)
    assert metres(prediction, focal=1200.0) == pytest.approx(2 * CANONICAL)
    assert (prediction.depth == CANONICAL).all()  # unchanged


def test_a_field_of_view_is_horizontal(metric):
    (prediction,) = metric.depth([jpeg()], **SMALL)
    assert metres(prediction, fov=90.0) == pytest.approx(CANONICAL * 42 / 300)


@pytest.mark.parametrize("orientation", [1, 6], ids=["upright", "turned"])
def test_exif_gives_the_focal_length_by_the_35_mm_equivalent(metric, orientation):
    (prediction,) = metric.depth([jpeg(orientation=orientation, FOCAL_35MM=28)], **SMALL)
    assert prediction.focal_length().origins == ("Exif, 35 mm equivalent",)
    pixels = 28 * math.hypot(84, 56) / math.hypot(36, 24)
    assert metres(prediction) == pytest.approx(CANONICAL * pixels / 300, rel=0.01)


def test_exif_gives_the_focal_length_by_the_sensor(metric, tmp_path):
    # The image of 168 pixels was twice as wide when taken, on a sensor of 25 pixels per millimetre.
    lens = {"FOCAL_LENGTH": 6.0, "PLANE_RESOLUTION": 250.0, "PLANE_UNIT": 3, "EXIF_WIDTH": 336}
    file = tmp_path / "phone.jpg"
    file.write_bytes(jpeg(**lens))
    (prediction,) = metric.depth([file], **SMALL)
    length = prediction.focal_length()
    assert length.origins == ("Exif, focal length and sensor resolution",)
    assert length.pixels[0] == pytest.approx(6.0 * 25 / 2 / 2)


def test_an_absurd_35_mm_equivalent_is_overruled_by_the_sensor(metric):
    lens = {"FOCAL_35MM": 65000, "FOCAL_LENGTH": 6.0, "PLANE_RESOLUTION": 250.0, "PLANE_UNIT": 3}
    (prediction,) = metric.depth([jpeg(**lens)], **SMALL)
    assert prediction.focal_length().origins == ("Exif, focal length and sensor resolution",)


def test_a_prediction_made_by_hand_has_no_exif(metric):
    depth = np.ones((1, 56, 84), np.float32)
    with pytest.raises(InvalidInputError, match="the prediction: no focal length"):
        Prediction(depth=depth, source_hw=((112, 168),)).focal_length()


@pytest.mark.parametrize(
    "lens",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"FOCAL_35MM": 0}, id="unknown-lens"),
        pytest.param({"FOCAL_LENGTH": 4.2}, id="no-sensor"),
        pytest.param({"FOCAL_35MM": 65000}, id="absurd"),
    ],
)
def test_without_a_focal_length_the_file_and_a_hint_are_named(metric, tmp_path, lens):
    file = tmp_path / "scan.jpg"
    file.write_bytes(jpeg(**lens))
    (prediction,) = metric.depth([file], **SMALL)
    with pytest.raises(InvalidInputError, match=r"scan\.jpg: no focal length .*pass focal= .* or fov="):
        prediction.metric_depth()


def test_damaged_exif_is_no_focal_length():
    whole = jpeg(FOCAL_35MM=28)
    start = whole.index(b"Exif\0\0")
    for cut in range(6, 80):
        exif_focal_length(whole[start : start + cut], (112, 168))  # raises nothing
    assert exif_focal_length(b"\xff" * 64, (112, 168)) is None


def test_given_intrinsics_come_before_exif(metric):
    matrix = np.array([[[600.0, 0, 84], [0, 600, 56], [0, 0, 1]]])
    prediction = metric.inference([jpeg(FOCAL_35MM=28)], intrinsics=matrix, **SMALL)
    assert metres(prediction) == pytest.approx(CANONICAL)
    assert prediction.focal_length().origins == ("intrinsics",)
    np.testing.assert_allclose(prediction.intrinsics[0], [[300, 0, 42], [0, 300, 28], [0, 0, 1]])


def test_the_cameras_that_an_any_view_model_predicts_serve_too(metric, seeded_small):
    images = [jpeg(), jpeg()]
    prediction = metric.inference(images, **SMALL)
    prediction.intrinsics = seeded_small.inference(images, **SMALL).intrinsics
    assert prediction.focal_length().origins == ("intrinsics", "intrinsics")
    wanted = CANONICAL * prediction.intrinsics[:, [0, 1], [0, 1]].mean(axis=1) / 300
    np.testing.assert_allclose(prediction.metric_depth().max(axis=(1, 2)), wanted, rtol=1e-6)


def test_each_view_has_its_own(metric):
    prediction = metric.inference([jpeg(), jpeg()], **SMALL)
    depth = prediction.metric_depth(focal=[600.0, 300.0])
    np.testing.assert_allclose(depth.max(axis=(1, 2)), [CANONICAL, CANONICAL / 2])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        pytest.param({"focal": 600, "fov": 60}, "one of them", id="both"),
        pytest.param({"focal": -1}, "positive", id="negative"),
        pytest.param({"focal": [1.0, 2.0]}, "positive number", id="too-many"),
        pytest.param({"focal": float("nan")}, "positive", id="nan"),
        pytest.param({"focal": "wide"}, "'wide'", id="text"),
        pytest.param({"fov": 180}, "fov=180", id="fov"),
    ],
)
def test_what_is_no_focal_length_is_refused(metric, how, told):
    (prediction,) = metric.depth([jpeg()], **SMALL)
    with pytest.raises(InvalidInputError, match=told):
        prediction.metric_depth(**how)


# Models


def test_relative_depth_is_refused_with_the_models_that_can(seeded_small):
    (prediction,) = seeded_small.depth([jpeg(FOCAL_35MM=28)], **SMALL)
    with pytest.raises(UnsupportedError, match=r"da3-small.*da3metric-large or da3nested-giant-large"):
        prediction.metric_depth(focal=600)


def test_a_nested_scene_without_metric_depth_says_why():
    depth = np.ones((1, 4, 5), np.float32)
    with pytest.raises(UnsupportedError, match=r"of da3nested-giant-large is not metric: .* sky"):
        Prediction(depth=depth, model_name="da3nested-giant-large").metric_depth()


def test_metric_depth_is_unchanged():
    depth = np.full((1, 4, 5), 3.0, np.float32)
    np.testing.assert_array_equal(Prediction(depth=depth, is_metric=1).metric_depth(), depth)


# On disk


def test_a_folder_as_metric_depth(metric, tmp_path):
    paths = [tmp_path / name for name in ("known.jpg", "unknown.jpg", "again.jpg")]
    for path, lens in zip(paths, ({"FOCAL_35MM": 28}, {}, {"FOCAL_35MM": 50}), strict=True):
        path.write_bytes(jpeg(**lens))
    done: list[None] = []
    report = run_images(
        metric,
        paths,
        tmp_path / "out",
        "depth_png",
        metric=MetricConversion(),
        on_error="skip",
        on_progress=lambda _: done.append(None),
        **SMALL,
    )
    assert len(done) == 3
    assert report.images == 2
    assert report.focal_lengths == {"Exif, 35 mm equivalent": 2}
    assert [Path(one["image"]).name for one in report.failures] == ["unknown.jpg"]
    assert sorted(path.name for path in (tmp_path / "out" / "depth_png").iterdir()) == ["again.png", "known.png"]
    with Image.open(tmp_path / "out" / "depth_png" / "known.png") as image:
        assert image.text["depth_unit"] == "metre"
        farthest = float(image.text["depth_scale"]) * np.asarray(image).max()
    assert farthest == pytest.approx(CANONICAL * 28 * math.hypot(84, 56) / math.hypot(36, 24) / 300, rel=0.01)
    json.dumps(report.as_dict())


def test_without_skip_the_first_unknown_focal_length_ends_the_run(metric, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(InvalidInputError, match=r"a\.jpg"):
        run_images(metric, [tmp_path / "a.jpg"], tmp_path / "out", "npz", metric=MetricConversion(), **SMALL)


def test_metric_depth_of_a_relative_model_is_rejected_before_reading(seeded_small, tmp_path):
    for run in (run_images, run_views):
        with pytest.raises(UnsupportedError, match="da3-small has no unit"):
            run(seeded_small, [tmp_path / "gone.jpg"], tmp_path / "out", "npz", metric=MetricConversion(focal=500))


@pytest.mark.parametrize(
    "lens", [{"focal": -1.0}, {"focal": float("nan")}, {"fov": 180.0}, {"focal": 1.0, "fov": 60.0}]
)
def test_metric_depth_with_an_invalid_lens_is_rejected_before_reading(lens):
    with pytest.raises(InvalidInputError, match=r"focal|fov"):
        MetricConversion(**lens)


def test_a_known_focal_length_turns_an_image_into_points(metric, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(width=170))  # squeezed to 84x56
    run_images(metric, [tmp_path / "a.jpg"], tmp_path / "out", "ply", metric=MetricConversion(fov=90.0), **SMALL)
    vertices = PlyData.read(tmp_path / "out" / "ply" / "a.ply")["vertex"]
    assert len(vertices) == 84 * 56
    columns, rows = np.arange(84 * 56) % 84, np.arange(84 * 56) // 84
    np.testing.assert_allclose(vertices["x"] / vertices["z"], (columns - 42) / 42, atol=1e-5)
    np.testing.assert_allclose(vertices["y"] / vertices["z"], (rows - 28) / (85 * 56 / 112), atol=1e-5)
    with pytest.raises(UnsupportedError, match=r"focal length, which .* does not have; pass intrinsics="):
        run_images(metric, [tmp_path / "a.jpg"], tmp_path / "out", "ply", **SMALL)


def test_files_of_depth_that_is_not_metric_yet_say_so(metric, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    run_images(metric, [tmp_path / "a.jpg"], tmp_path, "depth_png", **SMALL)
    with Image.open(tmp_path / "depth_png" / "a.png") as image:
        assert image.text["depth_unit"] == "canonical"


def test_metric_depth_stays_metric_when_read_back(metric, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(FOCAL_35MM=28))
    run_images(metric, [tmp_path / "a.jpg"], tmp_path / "out", "npz-mini_npz", metric=MetricConversion(), **SMALL)
    for kind in ("npz", "mini_npz"):
        assert load_prediction(tmp_path / "out" / kind / "a.npz").is_metric == 1


def test_frames_of_a_video_with_metric_depth_have_points(metric, tmp_path):
    frames = list(np.random.default_rng(7).integers(0, 256, (2, 112, 168, 3), np.uint8))
    report = run_video(
        metric, frames, tmp_path, VideoResults(formats="ply", metric=MetricConversion(focal=100)), **SMALL
    )
    assert report.images == 2
    headers = [path.read_bytes().partition(b"end_header")[0] for path in sorted((tmp_path / "ply").iterdir())]
    assert [b"comment depth_unit metre" in header for header in headers] == [True, True]
