"""`colmap`: a sparse model that COLMAP itself reads, with the cameras and points that were predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from depth_anything_3.errors import ExportError, InvalidInputError, UnsupportedError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.colmap import read_sparse_model
from support.full_disk import full_disk

TEXT = ExportOptions(export_kwargs={"colmap": {"text": True}})


@pytest.mark.parametrize(
    ("options", "suffix"), [pytest.param(None, "bin", id="binary"), pytest.param(TEXT, "txt", id="text")]
)
def test_colmap_reads_names_cameras_and_points_that_project_right(plane_scene, off_plane, tmp_path, options, suffix):
    if suffix == "txt":
        plane_scene.sources = ("/a/0ü.jpg", "/a/1ü.jpg")
    written = export(plane_scene, tmp_path, "colmap", options=options)
    assert {path.name for path in written} == {
        f"{kind}.{suffix}" for kind in ("cameras", "images", "points3D", "rigs", "frames")
    }
    model = pycolmap.Reconstruction(str(tmp_path))
    assert (model.num_images(), model.num_cameras(), model.num_rigs(), model.num_frames()) == (2, 2, 2, 2)
    assert [model.images[number].name for number in (1, 2)] == [Path(source).name for source in plane_scene.sources]
    selected = plane_scene.conf >= np.percentile(plane_scene.conf, 40)
    assert model.num_points3D() == selected.sum()
    for view, number in enumerate((1, 2)):
        image, camera = model.images[number], model.images[number].camera
        assert (camera.model.name, camera.width, camera.height) == ("PINHOLE", 400, 300)
        scale = np.array([400 / 56, 300 / 42])
        matrix = plane_scene.intrinsics[view].astype(np.float64)
        np.testing.assert_allclose(camera.params, [*(matrix[[0, 1], [0, 1]] * scale), *(matrix[:2, 2] * scale)])
        np.testing.assert_allclose(image.cam_from_world().matrix(), plane_scene.extrinsics[view], atol=1e-6)
        assert image.num_points2D() == image.num_points3D == selected[view].sum()
        for index, observation in enumerate(image.points2D[::7]):
            point = model.points3D[observation.point3D_id]
            assert [(one.image_id, one.point2D_idx) for one in point.track.elements] == [(number, 7 * index)]
            assert off_plane(point.xyz[None]) < 1e-5
            np.testing.assert_allclose(image.project_point(point.xyz), observation.xy, atol=1e-3)
            np.testing.assert_array_equal(point.color[:2], np.rint(observation.xy / scale) * (4, 5))


def test_text_files_hold_no_names_with_spaces(plane_scene, tmp_path):
    with pytest.raises(InvalidInputError, match=r"no names with spaces, such as 'view 0 ü.jpg'; use text=False"):
        export(plane_scene, tmp_path, "colmap", options=TEXT)


def test_text_and_binary_are_the_same_model(plane_scene, tmp_path):
    plane_scene.sources = ("0.jpg", "1.jpg")
    export(plane_scene, tmp_path / "binary", "colmap")
    export(plane_scene, tmp_path / "text", "colmap", options=TEXT)
    binary, text = (pycolmap.Reconstruction(str(tmp_path / kind)) for kind in ("binary", "text"))
    for number in (1, 2):
        np.testing.assert_array_equal(binary.cameras[number].params, text.cameras[number].params)
        np.testing.assert_array_equal(
            binary.images[number].cam_from_world().matrix(), text.images[number].cam_from_world().matrix()
        )
    for number, point in binary.points3D.items():
        np.testing.assert_array_equal(point.xyz, text.points3D[number].xyz)
        np.testing.assert_array_equal(point.color, text.points3D[number].color)


@pytest.mark.parametrize("options", [None, TEXT])
def test_our_own_reader_finds_the_same_cameras(plane_scene, tmp_path, options):
    plane_scene.sources = ("/a/0ü.jpg", "/a/1ü.jpg")
    export(plane_scene, tmp_path, "colmap", options=options)
    model = read_sparse_model(tmp_path)
    assert model.names == ("0ü.jpg", "1ü.jpg")
    assert model.sizes == plane_scene.source_hw
    np.testing.assert_allclose(model.extrinsics[:, :3], plane_scene.extrinsics, atol=1e-6)
    np.testing.assert_allclose(
        model.intrinsics[:, 0] / (400 / 56), plane_scene.intrinsics[:, 0].astype(np.float64), rtol=1e-12
    )


def test_sure_pixels_without_depth_are_neither_points_nor_observations(plane_scene, tmp_path):
    # Upstream lists them as observations of points that are not theirs.
    plane_scene.conf[:] = 2
    plane_scene.depth[0, 0, :4] = [np.nan, np.inf, 0, -1]
    export(plane_scene, tmp_path, "colmap")
    model = pycolmap.Reconstruction(str(tmp_path))
    assert model.num_points3D() == plane_scene.depth.size - 4
    assert model.images[1].num_points2D() == plane_scene.depth[0].size - 4
    first = model.images[1].points2D[0]
    np.testing.assert_allclose(model.images[1].project_point(model.points3D[first.point3D_id].xyz), first.xy, atol=1e-3)


def test_images_of_one_name_in_two_folders_keep_their_folders(plane_scene, tmp_path):
    plane_scene.sources = ("/data/left/1.jpg", "/data/right/1.jpg")
    export(plane_scene, tmp_path, "colmap")
    assert read_sparse_model(tmp_path).names == ("left/1.jpg", "right/1.jpg")


def test_one_image_twice_is_refused(plane_scene, tmp_path):
    plane_scene.sources = ("/data/1.jpg", "/data/1.jpg")
    with pytest.raises(InvalidInputError, match=r"1\.jpg is given twice"):
        export(plane_scene, tmp_path, "colmap")


def test_an_independent_image_has_a_folder_of_its_name(plane_scene_of, tmp_path):
    export(plane_scene_of(1), tmp_path, "colmap", "a.b")
    assert pycolmap.Reconstruction(str(tmp_path / "colmap" / "a.b")).num_images() == 1


@pytest.mark.parametrize("size", [(300, 600), (600, 400)])
def test_a_cropped_image_is_rejected(plane_scene, tmp_path, size):
    plane_scene.source_hw = ((300, 400), size)
    with pytest.raises(
        UnsupportedError, match=r"view 1 ü.jpg .* was cropped or padded to 56x42; give images of one size"
    ):
        export(plane_scene, tmp_path, "colmap")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_camera_is_reported(plane_scene, tmp_path):
    plane_scene.extrinsics[1] = np.nan
    with pytest.raises(InvalidInputError, match=r"the camera of .*view 1 ü.jpg could not be predicted"):
        export(plane_scene, tmp_path, "colmap")


def test_no_sure_point_is_a_model_of_cameras(plane_scene, tmp_path):
    plane_scene.depth[:] = np.nan
    export(plane_scene, tmp_path, "colmap")
    model = pycolmap.Reconstruction(str(tmp_path))
    assert (model.num_images(), model.num_points3D()) == (2, 0)


def test_a_full_disk_leaves_nothing_half_written(plane_scene, tmp_path):
    with full_disk(10_000), pytest.raises(ExportError, match=r"points3D\.bin: cannot be written"):
        export(plane_scene, tmp_path, "colmap")
    assert list(tmp_path.iterdir()) == []


def test_an_image_cropped_by_one_patch_is_rejected_if_its_scale_is_known(plane_scene, tmp_path):
    plane_scene.source_hw = ((300, 400), (42, 66))  # 66 to 56: within what rounding would explain
    plane_scene.source_scale = ((42 / 300, 56 / 400), (1.0, 1.0))
    with pytest.raises(UnsupportedError, match=r"view 1 ü.jpg \(66x42\) was cropped or padded to 56x42"):
        export(plane_scene, tmp_path, "colmap")
    plane_scene.source_hw, plane_scene.source_scale = ((300, 400),) * 2, ((42 / 300, 56 / 400),) * 2
    export(plane_scene, tmp_path, "colmap")
