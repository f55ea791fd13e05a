"""The demonstration on the images in the package and on others."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs import demo
from depth_anything_3.prediction.focal_length import exif_focal_length
from support.images import encoded, exif_block
from support.seeded_values import seeded_images_uint8

SIZE = (2160, 3840)


@pytest.fixture(scope="module")
def nano() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.fixture(scope="module")
def images() -> list[demo.DemoImage]:
    return demo.demo_images()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def prepared(process_res=None):
    return PreprocessOptions(process_res=process_res, on_error="skip")


@pytest.fixture(scope="module")
def report(nano, images, folder):
    truths = {image.path: image.depth_m for image in images}
    return demo.run_demo(nano.engine, list(truths), folder, prepared(), truths)


def test_the_images_in_the_package_are_4k_with_lens_and_true_depth(images):
    assert [image.path.name for image in images] == ["street.jpg", "table.jpg", "hall.jpg"]
    for image in images:
        with Image.open(image.path) as file:
            assert (file.format, file.size) == ("JPEG", SIZE[::-1])
            focal = exif_focal_length(file.info["exif"], SIZE)
        assert 0.4 * SIZE[1] < focal.pixels < 2 * SIZE[1]
        assert (focal.origin, focal.doubt) == ("Exif, focal length and sensor resolution", "")
        assert (image.depth_m.shape, image.depth_m.dtype) == ((270, 480), np.float32)
        assert 0.5 < image.depth_m.min() < 5
    sky = [np.isinf(image.depth_m) for image in images]
    assert [one.any() for one in sky] == [True, False, False]
    assert sky[0][:60].mean() > 3 * sky[0].mean()  # at the top


def test_depth_is_scored_and_shown_beside_the_truth(report, folder):
    assert (report.images, report.failures, report.network) == (3, [], "da3-nano")
    assert report.process_res == 224
    assert [one.name for one in report.results] == ["street", "table", "hall"]
    for one in report.results:
        assert one.abs_rel < 0.25
        assert one.size == SIZE
        assert min(one.preprocess_ms, one.network_ms) > 1
    assert report.as_dict()["results"] == [asdict(one) for one in report.results]
    assert report.stage_seconds.keys() == {"decode", "resample", "network", "export"}
    with Image.open(folder / "depth" / "hall.jpg") as row, Image.open(report.overview) as overview:
        assert row.width > 3 * 600
        assert overview.size == (row.width, 3 * row.height)


def test_points_are_where_the_lens_says(report, folder, images):
    """A pixel that is the focal length to the right of the centre is seen at 45 degrees."""
    lines, _, body = (folder / "ply" / "hall.ply").read_bytes().partition(b"end_header\n")
    assert b"comment depth_unit relative" in lines
    kind = [(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")]
    points = np.frombuffer(body, kind)
    with Image.open(images[2].path) as file:
        focal_px = exif_focal_length(file.info["exif"], SIZE).pixels
    slope = SIZE[1] / 2 / focal_px
    assert np.percentile(points["x"] / points["z"], (0, 100)) == pytest.approx((-slope, slope), rel=0.02)
    assert (folder / "glb" / "hall.glb").stat().st_size > 100_000


def test_without_a_lens_60_degrees_are_assumed_and_exif_turns_apply(nano, tmp_path):
    wide = seeded_images_uint8(1, 90, 160, seed=1)[0]
    (tmp_path / "turned.jpg").write_bytes(encoded(Image.fromarray(wide), exif=exif_block(6)))
    (tmp_path / "no.jpg").write_bytes(b"no image")
    report = demo.run_demo(nano.engine, sorted(tmp_path.iterdir()), tmp_path / "out", prepared(112))
    (result,) = report.results
    assert (report.images, report.process_res) == (1, 112)
    assert (result.name, result.size, result.focal_origin, result.abs_rel) == ("turned", (160, 90), "assumed", None)
    assert [one["image"] for one in report.failures] == [str(tmp_path / "no.jpg")]
    with Image.open(tmp_path / "out" / "depth" / "turned.jpg") as row:
        assert row.height > 600  # upright


def test_a_model_with_cameras_keeps_its_own(seeded_small, images, tmp_path):
    report = demo.run_demo(seeded_small.engine, [images[0].path], tmp_path, prepared(98))
    assert [one.focal_origin for one in report.results] == ["the model"]


def test_abs_rel_ignores_the_unit_and_the_sky():
    truth = np.array([[1.0, 2.0, 4.0, math.inf]], np.float32)
    assert demo.abs_rel(7 * np.array([[1, 2, 4, 9]], np.float32), truth) == pytest.approx(0.0, abs=1e-6)
    assert demo.abs_rel(np.array([[1, 2, 2, 9]], np.float32), truth) == pytest.approx(0.5 / 3)
    assert math.isnan(demo.abs_rel(np.ones((1, 4), np.float32), np.full((1, 4), math.inf, np.float32)))
