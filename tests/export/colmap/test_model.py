"""Cameras read from COLMAP's sparse models, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError
from depth_anything_3.export.colmap import find_sparse_model, pair_images, read_sparse_model
from depth_anything_3.export.colmap.camera_models import CAMERA_MODELS
from depth_anything_3.export.colmap.model import quaternion_to_rotation, rotation_to_quaternion

NAMES = ("left/a.jpg", "left/b c.jpg", "right/ü.jpg")


def write_model(folder: Path, *, text: bool = False, camera: pycolmap.Camera | None = None) -> pycolmap.Reconstruction:
    """A model of three images by COLMAP itself; the second image has no observations."""
    folder.mkdir(parents=True)
    model = pycolmap.Reconstruction()
    for number, name in enumerate(NAMES, 1):
        if camera is None:
            lens = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500 + number, 510, 320, 240.5])
        else:
            lens = pycolmap.Camera(camera.todict())
        lens.camera_id = number
        model.add_camera_with_trivial_rig(lens)
        image = pycolmap.Image(image_id=number, camera_id=number, name=name)
        if number != 2:
            image.points2D = [pycolmap.Point2D(np.array([x, 2.5 * x])) for x in range(5)]
        turn = np.array([0.1 * number, -0.2, 0.3, 0.9])
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(turn / np.linalg.norm(turn)), np.array([number, 2e6 + 0.125, -3.0]))
        model.add_image_with_trivial_frame(image, pose)
    (model.write_text if text else model.write_binary)(str(folder))
    return model


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_names_poses_intrinsics_and_sizes_are_those_that_colmap_wrote(tmp_path, text, caplog):
    wanted = write_model(tmp_path / "m", text=text)
    model = read_sparse_model(tmp_path / "m")
    assert model.names == NAMES
    assert model.sizes == ((480, 640),) * 3
    assert model.extrinsics.dtype == model.intrinsics.dtype == np.float64
    for number in range(3):
        pose = wanted.images[number + 1].cam_from_world().matrix()
        np.testing.assert_allclose(model.extrinsics[number], np.vstack([pose, [0, 0, 0, 1]]), rtol=1e-14, atol=1e-14)
        np.testing.assert_array_equal(model.intrinsics[number], [[501 + number, 0, 320], [0, 510, 240.5], [0, 0, 1]])
    assert caplog.text == ""


PERSPECTIVE = [model for model in CAMERA_MODELS if model.focals]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("kind", PERSPECTIVE, ids=[model.name for model in PERSPECTIVE])
def test_every_camera_model_gives_its_pinhole_and_warns_of_distortion(tmp_path, caplog, kind, text):
    camera = pycolmap.Camera.create_from_model_name(1, kind.name, 500.0, 640, 480)
    assert len(camera.params) == kind.parameters
    assert len(camera.focal_length_idxs()) == kind.focals
    camera.params = [500.0, 505.0][: kind.focals] + [321.0, 239.0] + [0.01] * (kind.parameters - kind.focals - 2)
    write_model(tmp_path / "m", text=text, camera=camera)
    matrix = read_sparse_model(tmp_path / "m").intrinsics[0]
    np.testing.assert_array_equal(matrix, [[500, 0, 321], [0, 505 if kind.focals == 2 else 500, 239], [0, 0, 1]])
    warnings = [record.getMessage() for record in caplog.records]
    if kind.name in ("SIMPLE_PINHOLE", "PINHOLE"):
        assert warnings == []
    else:
        assert len(warnings) == 1
        assert f"({kind.name})" in warnings[0]
        assert "undistort the images first" in warnings[0]


def test_a_distortion_of_zero_is_none(tmp_path, caplog):
    camera = pycolmap.Camera(model="OPENCV", width=640, height=480, params=[500, 500, 320, 240, 0, 0, 0, 0])
    write_model(tmp_path / "m", camera=camera)
    read_sparse_model(tmp_path / "m")
    assert caplog.text == ""


def test_a_panorama_has_no_focal_length(tmp_path):
    camera = pycolmap.Camera(model="EQUIRECTANGULAR", width=640, height=320, params=[640, 320])
    write_model(tmp_path / "m", camera=camera)
    with pytest.raises(UnsupportedError, match="EQUIRECTANGULAR has no focal length; use a perspective one"):
        read_sparse_model(tmp_path / "m")


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_a_rotation_and_its_quaternion_are_the_same(values):
    quaternion = np.array(values)
    if np.linalg.norm(quaternion) < 1e-3:
        return
    rotation = quaternion_to_rotation(quaternion)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    back = rotation_to_quaternion(rotation)
    assert back[0] >= 0
    np.testing.assert_allclose(quaternion_to_rotation(back), rotation, atol=1e-12)
    np.testing.assert_allclose(pycolmap.Rotation3d(back[[1, 2, 3, 0]]).matrix(), rotation, atol=1e-12)


# Damage


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_truncated_binary_file_is_reported_wherever_it_ends(tmp_path, name):
    write_model(tmp_path / "m")
    file = tmp_path / "m" / name
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(InvalidInputError, match=r"cameras\.bin|images\.bin"):
            read_sparse_model(tmp_path / "m")


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), name=st.sampled_from(["cameras", "images"]))
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_a_damaged_file_is_read_or_reported(tmp_path_factory, text, place, value, name):
    folder = tmp_path_factory.mktemp("damaged") / "m"
    write_model(folder, text=text)
    file = folder / f"{name}.{'txt' if text else 'bin'}"
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] = value
    file.write_bytes(content)
    try:
        read_sparse_model(folder)
    except DA3Error as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_count_beyond_the_file_is_reported_without_reserving_memory(tmp_path, name):
    write_model(tmp_path / "m")
    file = tmp_path / "m" / name
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    with pytest.raises(InvalidInputError, match="it ends early"):
        read_sparse_model(tmp_path / "m")


CAMERA, IMAGE = "1 PINHOLE 640 480 500 500 320 240\n", "1 1 0 0 0 0 0 0 1 a.jpg\n\n"


@pytest.mark.parametrize(
    ("cameras", "images", "message"),
    [
        pytest.param("1 PINHOLE 640\n", IMAGE, r"cameras.txt, line 1: not a camera", id="short"),
        pytest.param("1 LENS 640 480 500\n", IMAGE, r"line 1: not a camera .*LENS", id="model"),
        pytest.param("# c\n1 PINHOLE 640 480 a b c d\n", IMAGE, r"line 2: not a number", id="words"),
        pytest.param("1 PINHOLE 640 480 500 500 320\n", IMAGE, "has 4 finite parameters", id="parameters"),
        pytest.param("1 PINHOLE 640 480 500 nan 320 240\n", IMAGE, "has 4 finite parameters", id="nan"),
        pytest.param("1 PINHOLE 640 480 500 -1 320 240\n", IMAGE, r"focal length is -1\.0", id="focal"),
        pytest.param("1 PINHOLE 0 480 500 500 320 240\n", IMAGE, "camera of 0x480 pixels", id="size"),
        pytest.param(CAMERA, "1 1 0 0 0 0 0 0 2 a.jpg\n\n", "has camera 2, which is missing", id="camera"),
        pytest.param(CAMERA, "1 0 0 0 0 0 0 0 1 a.jpg\n\n", "'a.jpg' has no valid pose", id="pose"),
        pytest.param(CAMERA, "1 1 0 0\n\n", r"images.txt, line 1: not an image", id="image"),
        pytest.param(CAMERA, "# nothing\n", "has no images", id="no-images"),
    ],
)
def test_an_error_in_a_text_file_is_reported_with_its_line(tmp_path, cameras, images, message):
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(images)
    with pytest.raises(InvalidInputError, match=message):
        read_sparse_model(tmp_path)


# Finding and pairing


@pytest.mark.parametrize(
    ("place", "subdir"),
    [("sparse/0", None), ("sparse", None), (".", None), ("sparse/2", "2"), ("dense/sparse", "dense/sparse")],
)
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_the_sparse_model_is_found_in_its_usual_places(tmp_path, place, subdir, text):
    write_model(tmp_path / "w" / place, text=text)
    assert find_sparse_model(tmp_path / "w", subdir) == tmp_path / "w" / place


def test_where_no_model_is_the_places_are_listed(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no sparse model .* in .*sparse/0, .*sparse, "):
        find_sparse_model(tmp_path)
    with pytest.raises(InvalidInputError, match=r"no sparse model \(cameras\.bin"):
        read_sparse_model(tmp_path)


def test_images_are_paired_by_path_and_the_rest_is_reported(tmp_path):
    write_model(tmp_path / "m")
    model = read_sparse_model(tmp_path / "m")
    folder = tmp_path / "images"
    new = folder / "new.jpg"
    paths = [folder / "right" / "u\u0308.jpg", new, folder / "left" / "a.jpg"]  # ü as macOS stores it
    pairing = pair_images(model, paths, folder)
    assert pairing.paths == (paths[0], paths[2])
    assert pairing.without_pose == (new,)
    assert pairing.without_image == ("left/b c.jpg",)
    np.testing.assert_array_equal(pairing.extrinsics, model.extrinsics[[2, 0]])
    np.testing.assert_array_equal(pairing.intrinsics, model.intrinsics[[2, 0]])
    assert pairing.sizes == ((480, 640),) * 2


def test_images_elsewhere_are_paired_by_a_name_that_only_one_has(tmp_path):
    write_model(tmp_path / "m")
    model = read_sparse_model(tmp_path / "m")
    paths = [Path("/other/a.jpg"), Path("/other/b c.jpg"), Path("/third/b c.jpg")]
    pairing = pair_images(model, paths, "/other")
    assert pairing.paths == (paths[0],)
    assert pairing.without_pose == (paths[1], paths[2])  # which of the two it is nobody knows


def test_images_of_which_none_has_a_pose_are_refused(tmp_path):
    write_model(tmp_path / "m")
    with pytest.raises(
        InvalidInputError, match=r"no image has a pose; .*'/x/z.jpg', the sparse model like 'left/a.jpg'"
    ):
        pair_images(read_sparse_model(tmp_path / "m"), [Path("/x/z.jpg")], "/x")
