"""`feat_vis`: features in colour, as images and as a video."""

from __future__ import annotations

import importlib.util

import av
import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.formats.feat_vis import colorize_features
from depth_anything_3.export.video_file import write_mp4
from support.full_disk import full_disk


@pytest.fixture
def scene(plane_scene):
    rng = np.random.default_rng(0)
    plane_scene.aux = {f"feat_layer_{layer}": rng.normal(size=(2, 3, 4, 24)).astype(np.float32) for layer in (5, 11)}
    return plane_scene


def frames_of(path) -> tuple[list[np.ndarray], av.VideoStream]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], stream


def test_each_layer_gives_images_and_a_video_in_upstreams_layout(scene, tmp_path):
    written = export(scene, tmp_path, "feat_vis")
    assert sorted(path.relative_to(tmp_path / "feat_vis").as_posix() for path in written) == [
        "feat_layer_11.mp4",
        "feat_layer_11/000000.jpg",
        "feat_layer_11/000001.jpg",
        "feat_layer_5.mp4",
        "feat_layer_5/000000.jpg",
        "feat_layer_5/000001.jpg",
    ]
    colors = colorize_features(scene.aux["feat_layer_5"]).repeat(14, axis=1).repeat(14, axis=2)
    frames, stream = frames_of(tmp_path / "feat_vis" / "feat_layer_5.mp4")
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == 15
    assert len(frames) == 2
    for view in range(2):
        with Image.open(tmp_path / "feat_vis" / "feat_layer_5" / f"{view:06d}.jpg") as image:
            pixels = np.asarray(image, np.float32)
        wanted = np.hstack([scene.processed_images[view], colors[view]])
        assert pixels.shape == wanted.shape == frames[view].shape
        # JPEG and video halve the resolution of colour, so apart from a few edges.
        assert np.median(np.abs(pixels - wanted)) < 4
        assert np.median(np.abs(frames[view].astype(np.float32) - wanted)) < 12


def test_the_frame_rate_is_the_one_asked_for(scene, tmp_path):
    export(scene, tmp_path, "feat_vis", options=ExportOptions(feat_vis_fps=4))
    assert frames_of(tmp_path / "feat_vis" / "feat_layer_11.mp4")[1].average_rate == 4


def test_without_pyav_there_are_images_and_a_hint_at_the_extra(scene, tmp_path, monkeypatch, caplog):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "av" else find(name))
    written = export(scene, tmp_path, "feat_vis")
    assert {path.suffix for path in written} == {".jpg"}
    assert len(written) == 4
    assert "only JPEGs are written; videos need PyAV; run pip install '.[video]'" in caplog.text


def test_an_independent_image_has_its_layers_side_by_side(plane_scene_of, tmp_path):
    photo = plane_scene_of(1)
    photo.aux = {name: np.random.default_rng(1).normal(size=(1, 3, 4, 24)) for name in ("feat_layer_1", "feat_layer_2")}
    (path,) = export(photo, tmp_path, "feat_vis", "ü")
    assert path == tmp_path / "feat_vis" / "ü.jpg"
    with Image.open(path) as image:
        assert image.size == (3 * 56, 42)


def test_the_colours_are_the_directions_in_which_features_vary_most():
    rng = np.random.default_rng(3)
    strength = np.array([500.0, 200.0, 80.0])
    hidden = rng.uniform(-1, 1, (4 * 5 * 6, 3))
    # Uncorrelated, so that the directions of the features are the hidden ones.
    hidden = np.linalg.qr(hidden - hidden.mean(axis=0))[0] * strength
    basis = np.linalg.qr(rng.normal(size=(64, 64)))[0][:, :3]
    features = (hidden @ basis.T + 1e-3 * rng.normal(size=(120, 64)) + 7).reshape(4, 5, 6, 64)
    colors = colorize_features(features).reshape(-1, 3).astype(np.float64)
    for channel in range(3):
        low, high = np.percentile(hidden[:, channel], (10, 90))
        clipped = np.clip(hidden[:, channel], low, high)
        assert abs(np.corrcoef(colors[:, channel], clipped)[0, 1]) > 0.98
    np.testing.assert_array_equal(colorize_features(features).reshape(-1, 3), colors)


@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (1, 1, 2, 8), (2, 3, 4, 2)])
def test_few_features_are_shown_as_well(shape):
    assert colorize_features(np.random.default_rng(0).normal(size=shape)).shape == (*shape[:3], 3)


def test_features_that_are_not_finite_do_not_spoil_the_others():
    features = np.random.default_rng(0).normal(size=(1, 6, 6, 8)).astype(np.float32)
    features[0, 0, 0] = np.nan
    assert len(np.unique(colorize_features(features)[0, 1:])) > 50
    features[0, 0, 1] = np.inf
    assert colorize_features(features).dtype == np.uint8


def test_features_of_other_views_are_refused(scene, tmp_path):
    scene.aux["feat_layer_5"] = scene.aux["feat_layer_5"][:1]
    with pytest.raises(InvalidInputError, match="feat_layer_5 has features of 1 views, but there are 2"):
        export(scene, tmp_path, "feat_vis")


def test_a_full_disk_leaves_no_half_video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
    write_mp4(tmp_path / "whole.mp4", frames, 15)
    size = (tmp_path / "whole.mp4").stat().st_size
    for room in (0, 100, size // 2, size - 1):
        with full_disk(room), pytest.raises(ExportError, match=r"half\.mp4: cannot be written"):
            write_mp4(tmp_path / "half.mp4", frames, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]
