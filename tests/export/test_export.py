"""Files of results, read back by other programs' readers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import export, parse_formats
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.prediction import Prediction
from support.full_disk import full_disk
from support.goldens import unit_case

VIEWS, HEIGHT, WIDTH = 2, 28, 42


@pytest.fixture
def scene() -> Prediction:
    rng = np.random.default_rng(0)
    return Prediction(
        depth=rng.uniform(0.5, 20, (VIEWS, HEIGHT, WIDTH)).astype(np.float32),
        conf=rng.uniform(1, 9, (VIEWS, HEIGHT, WIDTH)).astype(np.float32),
        extrinsics=rng.normal(size=(VIEWS, 3, 4)).astype(np.float32),
        intrinsics=rng.normal(size=(VIEWS, 3, 3)).astype(np.float32),
        processed_images=rng.integers(0, 256, (VIEWS, HEIGHT, WIDTH, 3), dtype=np.uint8),
    )


@pytest.fixture
def photo(scene) -> Prediction:
    """One independent image without confidence and cameras."""
    return Prediction(depth=scene.depth[:1], processed_images=scene.processed_images[:1])


# Names

ALL = "mini_npz-npz-depth_png-depth_vis"


def test_a_scene_is_written_in_upstreams_layout(scene, tmp_path):
    written = export(scene, tmp_path, ALL)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "exports/mini_npz/results.npz",
        "exports/npz/results.npz",
        "depth_png/0000.png",
        "depth_png/0001.png",
        "depth_vis/0000.jpg",
        "depth_vis/0001.jpg",
    ]
    assert all(path.is_file() for path in written)


def test_an_independent_image_gives_files_of_its_name(photo, tmp_path):
    written = export(photo, tmp_path, ALL, "holiday.v2")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "mini_npz/holiday.v2.npz",
        "npz/holiday.v2.npz",
        "depth_png/holiday.v2.png",
        "depth_vis/holiday.v2.jpg",
    ]
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("name", ["x" * 251, "ü" * 125, ".hidden", "no suffix", "a'b\"c"])
def test_any_name_the_file_system_takes_is_written(photo, tmp_path, name):
    (written,) = export(photo, tmp_path, "npz", name)
    assert written.name == f"{name}.npz"
    assert [path.name for path in (tmp_path / "npz").iterdir()] == [written.name]


@pytest.mark.parametrize(
    ("formats", "quoted"),
    [("npz-depth", "'depth'"), ("npz,depth_vis", "'npz,depth_vis'"), ("", "''"), ("-", "'-'")],
)
def test_an_unknown_format_is_quoted_beside_the_known_ones(formats, quoted):
    with pytest.raises(InvalidInputError, match=f"{quoted} is unknown; .*mini_npz, npz, depth_png, depth_vis"):
        parse_formats(formats)


def test_a_format_named_twice_is_written_once(photo, tmp_path):
    assert len(export(photo, tmp_path, "npz-npz-", "a")) == 1


# npz


@pytest.mark.parametrize(
    ("kind", "decimals", "image"),
    [pytest.param("mini_npz", 8, set(), id="mini_npz"), pytest.param("npz", 6, {"image"}, id="npz")],
)
def test_npz_has_upstreams_keys_types_and_roundings(scene, tmp_path, kind, decimals, image):
    (path,) = export(scene, tmp_path, kind)
    with np.load(path) as file:
        arrays = dict(file)
    assert arrays.keys() == {"depth", "conf", "extrinsics", "intrinsics"} | image
    assert {key: value.dtype.name for key, value in arrays.items() if key != "image"} == dict.fromkeys(
        ("depth", "conf", "extrinsics", "intrinsics"), "float32"
    )
    np.testing.assert_array_equal(arrays["depth"], np.round(scene.depth, decimals))
    np.testing.assert_array_equal(arrays["conf"], np.round(scene.conf, 2))
    assert not np.array_equal(arrays["conf"], scene.conf)
    np.testing.assert_array_equal(arrays["extrinsics"], scene.extrinsics)
    np.testing.assert_array_equal(arrays["intrinsics"], scene.intrinsics)
    for key in image:
        np.testing.assert_array_equal(arrays[key], scene.processed_images)
        assert arrays[key].dtype == np.uint8


def test_npz_of_a_model_without_cameras_has_no_keys_for_them(photo, tmp_path):
    (path,) = export(photo, tmp_path, "npz", "a")
    with np.load(path) as file:
        assert set(file.files) == {"depth", "image"}


# depth_png


def read_depth_png(path: Path) -> tuple[np.ndarray, float, str]:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    with Image.open(path) as image:
        return values, float(image.text["depth_scale"]), image.text["depth_unit"]


def test_depth_png_gives_depth_back_within_half_a_step(scene, tmp_path):
    for path, depth in zip(export(scene, tmp_path, "depth_png"), scene.depth, strict=True):
        values, scale, unit = read_depth_png(path)
        assert unit == "relative"
        assert values.max() == 65535
        assert np.abs(values * scale - depth.astype(np.float64)).max() <= 0.5 * scale * (1 + 1e-9)


def test_depth_png_keeps_zero_for_what_is_not_known(photo, tmp_path):
    photo.depth[0, 0, :6] = [np.nan, np.inf, -np.inf, -1, 0, 1e-30]
    (path,) = export(photo, tmp_path, "depth_png", "a")
    values, scale, _ = read_depth_png(path)
    assert values[0, :6].tolist() == [0, 0, 0, 0, 0, 1]
    assert (values[1:] > 0).all()
    assert scale == pytest.approx(photo.depth[np.isfinite(photo.depth)].max() / 65535)


def test_depth_png_of_a_metric_model_is_metric_depth(photo, tmp_path):
    photo.is_metric = 1
    (path,) = export(photo, tmp_path, "depth_png", "a")
    assert read_depth_png(path)[2] == "metre"


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_depth_png_of_nothing_known_is_all_zero(photo, tmp_path, value):
    photo.depth[:] = value
    (path,) = export(photo, tmp_path, "depth_png", "a")
    assert not read_depth_png(path)[0].any()


@given(low=st.floats(1e-6, 1e6), span=st.floats(1, 1e6))
@settings(max_examples=25, deadline=None)
def test_depth_png_is_exact_to_half_a_step_in_any_unit(tmp_path_factory, low, span):
    depth = np.geomspace(low, low * span, 12, dtype=np.float64).astype(np.float32).reshape(1, 3, 4)
    (path,) = export(Prediction(depth=depth), tmp_path_factory.mktemp("png"), "depth_png", "a")
    values, scale, _ = read_depth_png(path)
    restored = np.where(values == 1, depth[0], values * scale)  # the nearest depths share the lowest value
    assert np.abs(restored - depth[0].astype(np.float64)).max() <= 0.5 * scale * (1 + 1e-9)


# depth_vis


def test_depth_vis_shows_the_image_left_and_its_depth_right(scene, tmp_path):
    scene.processed_images[:] = 200
    scene.depth[:] = np.linspace(1, 2, HEIGHT)[:, None]
    for path, depth in zip(export(scene, tmp_path, "depth_vis"), scene.depth, strict=True):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (2 * WIDTH, HEIGHT))
            pixels = np.asarray(image, np.float32)
        # Apart from the JPEG blocks across the border.
        assert np.abs(pixels[:, : WIDTH - 16] - 200).max() < 3
        assert np.abs(pixels[:, WIDTH + 16 :] - colorize_depth(depth)[:, 16:]).mean() < 3


def test_depth_vis_without_images_is_rejected(photo, tmp_path):
    photo.processed_images = None
    with pytest.raises(InvalidInputError, match="depth_vis needs the images"):
        export(photo, tmp_path, "depth_vis")


def test_depth_colours_are_the_goldens():
    golden = unit_case("units_export")
    np.testing.assert_array_equal(colorize_depth(golden["depth_vis/in"]), golden["depth_vis/rgb"])
    flat = colorize_depth(np.full((20, 28), 2, np.float32))
    np.testing.assert_array_equal(flat, np.broadcast_to(golden["depth_vis/flat_rgb_pixel"], flat.shape))


NEAREST, FARTHEST = [158, 1, 66], [94, 79, 162]


def test_near_is_red_and_far_is_blue():
    colours = colorize_depth(np.linspace(1, 50, 300, dtype=np.float32).reshape(10, 30))
    assert colours[0, 0].tolist() == NEAREST
    assert colours[-1, -1].tolist() == FARTHEST


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf, 0.0, -3.0])
def test_what_has_no_depth_is_coloured_as_farthest(unknown):
    depth = np.linspace(1, 50, 300, dtype=np.float32).reshape(10, 30)
    depth[3, 4] = unknown
    colours = colorize_depth(depth)
    assert colours[3, 4].tolist() == FARTHEST
    assert colours[0, 0].tolist() == NEAREST


@pytest.mark.parametrize("value", [np.nan, 0.0, 5.0])
def test_an_image_of_one_depth_has_one_colour(value):
    assert len(np.unique(colorize_depth(np.full((9, 9), value, np.float32)).reshape(-1, 3), axis=0)) == 1


# Whole files


def test_an_existing_result_is_replaced(scene, photo, tmp_path):
    export(photo, tmp_path, "npz", "a")
    photo.depth += 1
    (path,) = export(photo, tmp_path, "npz", "a")
    with np.load(path) as file:
        np.testing.assert_array_equal(file["depth"], np.round(photo.depth, 6))
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("formats", ["npz", "mini_npz", "depth_png", "depth_vis"])
def test_a_folder_that_is_a_file_cannot_be_written_to(photo, tmp_path, formats):
    taken = tmp_path / "taken"
    taken.write_text("not a folder")
    with pytest.raises(ExportError, match=r"taken/.*: cannot be written"):
        export(photo, taken, formats, "a")
    assert taken.read_text() == "not a folder"


def test_a_folder_of_the_results_name_is_left_alone(photo, tmp_path):
    (tmp_path / "npz" / "a.npz").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"a\.npz: cannot be written \(Is a directory\)"):
        export(photo, tmp_path, "npz", "a")
    assert [path.name for path in (tmp_path / "npz").iterdir()] == ["a.npz"]


@pytest.mark.parametrize("formats", ["npz", "mini_npz", "depth_png", "depth_vis"])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(photo, tmp_path, formats):
    with full_disk(200), pytest.raises(ExportError, match="cannot be written"):
        export(photo, tmp_path, formats, "a")
    assert list((tmp_path / formats).iterdir()) == []
