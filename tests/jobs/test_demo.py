"""The demonstration on drawn scenes and on photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.api import DepthAnything3
from depth_anything_3.jobs import demo
from depth_anything_3.prediction.focal_length import exif_focal_length
from depth_anything_3.scenes import make_atlas, render_large
from support.images import encoded, exif_block
from support.seeded_values import seeded_images_uint8

SIZE = (252, 448)


@pytest.fixture(scope="module")
def nano() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def scenes(folder):
    return list(demo.draw_scenes(folder, SIZE))


@pytest.fixture(scope="module")
def report(nano, scenes, folder):
    paths = [scene.path for scene in scenes]
    return demo.run_demo(nano, paths, folder, scenes)


def test_scenes_are_jpegs_with_the_lens_they_were_drawn_with(scenes):
    assert [scene.path.name for scene in scenes] == ["street.jpg", "table.jpg", "hall.jpg"]
    name, seed = next(iter(demo.SCENES.items()))
    seen = render_large(seed, SIZE, make_atlas())
    with Image.open(scenes[0].path) as picture:
        assert (scenes[0].path.stem, picture.format, picture.size) == (name, "JPEG", SIZE[::-1])
        pixels, origin = exif_focal_length(picture.info["exif"], SIZE)
        difference = np.asarray(picture, np.float32) - seen.image[0].permute(1, 2, 0).numpy()
    assert pixels == pytest.approx(float(seen.intrinsics[0, 0, 0]), rel=1e-4)
    assert origin == "Exif, focal length and sensor resolution"
    assert np.abs(difference).mean() < 6  # what JPEG costs
    truth = scenes[0].depth
    assert np.array_equal(truth, seen.depth[0, 2::4, 2::4].numpy())


def test_depth_of_scenes_is_scored_and_lies_beside_the_truth(report, folder):
    assert (report.images, report.failures, report.network) == (3, [], "da3-nano")
    assert report.process_res == demo._DEMO_RESOLUTION
    assert list(report.abs_rel) == ["street", "table", "hall"]
    assert max(report.abs_rel.values()) < 0.25
    assert report.stage_seconds.keys() == {"render", "decode", "resample", "network", "export"}
    with Image.open(folder / "depth" / "hall.jpg") as row, Image.open(report.overview) as overview:
        assert row.width > 3 * 600
        assert overview.size == (row.width, 3 * row.height)


def test_points_are_where_the_lens_says(report, folder, nano):
    """A pixel right of the middle by the focal length is seen at 45 degrees."""
    lines, _, body = (folder / "ply" / "hall.ply").read_bytes().partition(b"end_header\n")
    assert b"comment depth_unit relative" in lines
    kind = [(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")]
    points = np.frombuffer(body, kind)
    with Image.open(folder / "hall.jpg") as picture:
        focal, _ = exif_focal_length(picture.info["exif"], SIZE)
    slope = SIZE[1] / 2 / focal
    assert np.percentile(points["x"] / points["z"], (0, 100)) == pytest.approx((-slope, slope), rel=0.02)
    assert (folder / "glb" / "hall.glb").stat().st_size > 100_000


def test_photos_without_a_lens_get_one_and_rotated_ones_are_rotated(nano, tmp_path):
    wide = seeded_images_uint8(1, 90, 160, seed=1)[0]
    (tmp_path / "turned.jpg").write_bytes(encoded(Image.fromarray(wide), exif=exif_block(6)))
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    report = demo.run_demo(nano, sorted(tmp_path.iterdir()), tmp_path / "out", process_res=112)
    assert report.images == 1
    assert report.lenses == {"turned": "assumed: 60 degrees along the longer side"}
    assert (report.abs_rel, report.process_res) == ({}, 112)
    assert [one["image"] for one in report.failures] == [str(tmp_path / "no.jpg")]
    with Image.open(tmp_path / "out" / "depth" / "turned.jpg") as row:
        assert row.height > 600  # upright


def test_a_model_with_cameras_keeps_its_own(seeded_small, scenes, tmp_path):
    report = demo.run_demo(seeded_small, [scenes[0].path], tmp_path, scenes[:1], process_res=98)
    assert report.lenses == {"street": "the model's"}
    assert demo.demo_resolution(seeded_small) == 504


def test_the_error_of_depth_forgives_its_unit_and_leaves_the_sky_out():
    truth = np.array([[1.0, 2.0, 4.0, math.inf]], np.float32)
    assert demo.abs_rel(7 * np.array([[1, 2, 4, 9]], np.float32), truth) == pytest.approx(0.0, abs=1e-6)
    assert demo.abs_rel(np.array([[1, 2, 2, 9]], np.float32), truth) == pytest.approx(0.5 / 3)
    assert math.isnan(demo.abs_rel(np.ones((1, 4), np.float32), np.full((1, 4), math.inf, np.float32)))


def test_drawing_leaves_torchs_threads_as_they_were(scenes):
    assert torch.get_num_threads() == 1
