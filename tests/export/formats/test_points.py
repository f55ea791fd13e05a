"""`ply` and `glb`: points that lie where the cameras saw them."""

from __future__ import annotations

import json

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.formats.glb import alignment, camera_colors, camera_pyramid, scene_size
from depth_anything_3.export.point_cloud import confidence_threshold, gather_points, homogeneous
from depth_anything_3.prediction import Prediction
from support.full_disk import full_disk
from support.goldens import unit_case


@pytest.fixture(scope="session")
def golden():
    return unit_case("units_export")


@pytest.fixture
def golden_prediction(golden) -> Prediction:
    return Prediction(
        depth=golden["in/depth"],
        conf=golden["in/conf"],
        extrinsics=golden["in/extrinsics"],
        intrinsics=golden["in/intrinsics"],
        processed_images=golden["in/images"],
    )


# Upstream's results. The tolerances allow for its rounding of points to float32.


@pytest.mark.parametrize(
    ("key", "options"),
    [
        pytest.param("glb/conf_threshold", {"percentile": 40}, id="percentile"),
        pytest.param("glb/conf_threshold_p10", {"percentile": 10}, id="minimum"),
        pytest.param("glb/conf_threshold_base_9", {"percentile": 40, "minimum": 9}, id="max_percentile"),
    ],
)
def test_thresholds_are_the_goldens(golden, key, options):
    assert confidence_threshold(golden["in/conf"], **options) == pytest.approx(float(golden[key]), abs=1e-6)


def test_points_and_colours_are_the_goldens(golden, golden_prediction):
    threshold = confidence_threshold(golden["in/conf"], 40)
    cloud = gather_points(golden_prediction, golden["in/conf"], threshold, None)
    np.testing.assert_allclose(cloud.points, golden["glb/points_world"], rtol=0, atol=2e-6)
    np.testing.assert_array_equal(cloud.colors, golden["glb/colors"])


def test_the_alignment_and_size_of_the_scene_are_the_goldens(golden):
    to_file = alignment(golden["glb/points_world"], homogeneous(golden["in/extrinsics"][:1])[0])
    np.testing.assert_allclose(to_file, golden["glb/A"], rtol=0, atol=2e-6)
    assert scene_size(golden["glb/points_final"]) == pytest.approx(float(golden["glb/scene_scale"]), abs=1e-9)


def test_the_pyramid_of_a_camera_is_the_goldens(golden):
    pose = homogeneous(golden["in/extrinsics"])[1]
    size = golden["in/depth"].shape[1:]
    edges = camera_pyramid(golden["in/intrinsics"][1], pose, size, 0.03 * float(golden["glb/scene_scale"]))
    np.testing.assert_allclose(edges, golden["glb/frustum_world_view1"], rtol=0, atol=2e-6)


def test_the_colours_of_cameras_are_the_goldens(golden):
    np.testing.assert_array_equal(camera_colors(5), golden["glb/camera_colors_n5"])


def test_a_glb_holds_the_goldens_points(golden, golden_prediction, tmp_path):
    export(golden_prediction, tmp_path, "glb")
    points = read_glb(tmp_path / "scene.glb")["points"]
    np.testing.assert_allclose(points, golden["glb/points_final"], rtol=0, atol=3e-6)


# ply


def read_ply(path) -> tuple[np.ndarray, np.ndarray]:
    vertices = PlyData.read(path)["vertex"]
    colors = np.stack([vertices[name] for name in ("red", "green", "blue")], axis=1) if "red" in vertices else None
    return np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64), colors


def test_the_points_of_a_ply_lie_on_the_plane_that_the_cameras_saw(plane_scene, off_plane, tmp_path):
    (path,) = export(plane_scene, tmp_path, "ply")
    assert path == tmp_path / "scene.ply"
    points, colors = read_ply(path)
    assert off_plane(points) < 1e-5
    assert len(points) == (plane_scene.conf >= np.percentile(plane_scene.conf, 40)).sum()
    # Back in view 0, each of its points falls on the pixel whose colour it has.
    of_view_0 = points[: (plane_scene.conf[0] >= np.percentile(plane_scene.conf, 40)).sum()]
    seen = of_view_0 @ plane_scene.intrinsics[0].T
    uv = seen[:, :2] / seen[:, 2:]
    np.testing.assert_allclose(uv, colors[: len(uv), :2] / (4, 5), atol=1e-3)


def test_a_ply_of_a_metric_model_says_metre(plane_scene, tmp_path):
    plane_scene.is_metric = 1
    (path,) = export(plane_scene, tmp_path, "ply")
    assert PlyData.read(path).comments == ["depth_unit metre"]


def test_one_image_without_poses_gives_points_in_its_cameras_frame(plane_scene, tmp_path):
    photo = Prediction(
        depth=plane_scene.depth[:1],
        intrinsics=plane_scene.intrinsics[:1],
        processed_images=plane_scene.processed_images[:1],
        sky=np.arange(plane_scene.depth[0].size).reshape(plane_scene.depth[:1].shape) < 500,
    )
    (path,) = export(photo, tmp_path, "ply", "garden ü")
    assert path == tmp_path / "ply" / "garden ü.ply"
    points, _ = read_ply(path)
    assert len(points) == photo.depth.size - 500  # without sky
    np.testing.assert_allclose(points[:, 2], photo.depth.reshape(-1)[500:], rtol=1e-6)


def test_what_has_no_depth_gives_no_points(plane_scene, tmp_path):
    plane_scene.depth[0, 0, :5] = [np.nan, np.inf, -np.inf, 0, -1]
    plane_scene.conf[:] = 2
    (path,) = export(plane_scene, tmp_path, "ply")
    assert len(read_ply(path)[0]) == plane_scene.depth.size - 5


def test_a_view_whose_pose_is_not_known_gives_no_points(plane_scene, tmp_path):
    plane_scene.extrinsics[0] = np.nan
    plane_scene.conf[:] = 2
    export(plane_scene, tmp_path, "ply-glb")
    assert len(read_ply(tmp_path / "scene.ply")[0]) == plane_scene.depth[0].size
    assert set(read_glb(tmp_path / "scene.glb")) == {"points", "camera_0001"}


def test_nothing_known_is_an_empty_ply(plane_scene, tmp_path):
    plane_scene.depth[:] = np.nan
    (path,) = export(plane_scene, tmp_path, "ply")
    assert len(read_ply(path)[0]) == 0


@pytest.mark.parametrize("formats", ["ply", "glb"])
def test_a_camera_without_focal_length_is_refused(plane_scene, tmp_path, formats):
    plane_scene.intrinsics[1] = 0
    if formats == "glb":
        plane_scene.depth[1] = np.nan  # then it only matters for its pyramid
    with pytest.raises(InvalidInputError, match="no inverse; give a focal length"):
        export(plane_scene, tmp_path, formats)
    assert list(tmp_path.iterdir()) == []


def test_points_are_thinned_out_evenly_and_the_same_each_time(plane_scene_of):
    scene = plane_scene_of(6)
    every = gather_points(scene, None, 0, None)
    cloud = gather_points(scene, None, 0, 3000)
    assert len(cloud.points) == 3000 == cloud.counts.sum()
    np.testing.assert_allclose(cloud.counts, 500, atol=100)  # 4.5 standard deviations
    known = {tuple(point) for point in every.points.round(9)}
    selected = {tuple(point) for point in cloud.points.round(9)}
    assert len(selected) == 3000
    assert selected <= known
    np.testing.assert_array_equal(gather_points(scene, None, 0, 3000).points, cloud.points)


@pytest.mark.parametrize("given", [{"num_max_points": 100}, {"num_max_points": None, "conf_thresh_percentile": 75.0}])
def test_options_reach_the_points(plane_scene, tmp_path, given):
    (path,) = export(plane_scene, tmp_path, "ply", options=ExportOptions(**given))
    wanted = given["num_max_points"] or plane_scene.depth.size // 4
    assert len(read_ply(path)[0]) == wanted


# glb


def read_glb(path) -> dict[str, np.ndarray]:
    """Positions by name, read by a library that had no part in writing."""
    gltf = pygltflib.GLTF2().load(str(path))
    blob = gltf.binary_blob()
    found = {}
    for mesh in gltf.meshes:
        accessor = gltf.accessors[mesh.primitives[0].attributes.POSITION]
        start = gltf.bufferViews[accessor.bufferView].byteOffset + (accessor.byteOffset or 0)
        found[mesh.name] = np.frombuffer(blob, "<f4", 3 * accessor.count, start).reshape(-1, 3)
    return found


def extras(path) -> dict:
    gltf = pygltflib.GLTF2().load(str(path))
    return gltf.scenes[gltf.scene].extras


def test_points_of_a_glb_lie_on_the_plane_without_the_alignment(plane_scene, off_plane, tmp_path):
    export(plane_scene, tmp_path, "glb")
    meshes = read_glb(tmp_path / "scene.glb")
    to_file = np.array(extras(tmp_path / "scene.glb")["hf_alignment"])
    assert to_file.shape == (4, 4)
    to_world = np.linalg.inv(to_file)
    assert off_plane(meshes["points"] @ to_world[:3, :3].T + to_world[:3, 3]) < 1e-5
    np.testing.assert_allclose(np.median(meshes["points"], axis=0), 0, atol=1e-5)
    # Each camera's pyramid begins in its centre.
    for view, pose in enumerate(plane_scene.extrinsics):
        centre = -pose[:, :3].T @ pose[:, 3]
        np.testing.assert_allclose(
            meshes[f"camera_{view:04d}"][0], to_file[:3, :3] @ centre + to_file[:3, 3], atol=1e-5
        )


def test_another_reader_finds_the_colours_of_points_and_cameras(plane_scene, tmp_path):
    export(plane_scene, tmp_path, "glb")
    scene = trimesh.load(tmp_path / "scene.glb", file_type="glb")
    assert set(scene.geometry) == {"points", "camera_0000", "camera_0001"}
    assert set(np.unique(scene.geometry["points"].colors[:, 2])) == {90}
    gltf = pygltflib.GLTF2().load(str(tmp_path / "scene.glb"))
    assert [mesh.primitives[0].mode for mesh in gltf.meshes] == [0, 1, 1]  # points, lines
    assert all(mesh.primitives[0].attributes.COLOR_0 is not None for mesh in gltf.meshes)


def test_the_glb_of_a_scene_comes_with_images_as_upstream_does(plane_scene, tmp_path):
    written = export(plane_scene, tmp_path, "glb-depth_vis")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "scene.glb",
        "depth_vis/0000.jpg",
        "depth_vis/0001.jpg",
        "scene.jpg",
    ]
    assert (tmp_path / "scene.jpg").read_bytes() == (tmp_path / "depth_vis" / "0000.jpg").read_bytes()
    with Image.open(tmp_path / "scene.jpg") as image:
        image.verify()


def test_a_glb_can_omit_cameras_and_images(plane_scene, tmp_path):
    options = ExportOptions(show_cameras=False, export_kwargs={"glb": {"export_depth_vis": False}})
    export(plane_scene, tmp_path, "glb", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.glb"]
    assert set(read_glb(tmp_path / "scene.glb")) == {"points"}


def test_the_glb_of_an_independent_image_is_one_file(plane_scene_of, tmp_path):
    assert export(plane_scene_of(1), tmp_path, "glb", "a") == [tmp_path / "glb" / "a.glb"]


@pytest.mark.parametrize("unknown", ["depth", "cameras"])
def test_nothing_to_show_is_an_empty_glb(plane_scene, tmp_path, unknown):
    if unknown == "depth":
        plane_scene.depth[:] = np.nan
    else:
        plane_scene.extrinsics[:] = np.nan
    export(plane_scene, tmp_path, "glb", options=ExportOptions(show_cameras=unknown == "cameras"))
    assert read_glb(tmp_path / "scene.glb") == {}
    assert np.array(extras(tmp_path / "scene.glb")["hf_alignment"]).shape == (4, 4)
    assert trimesh.load(tmp_path / "scene.glb", file_type="glb").is_empty


def test_nothing_known_is_a_glb_of_cameras(plane_scene, tmp_path):
    plane_scene.depth[:] = np.nan
    export(plane_scene, tmp_path, "glb")
    assert set(read_glb(tmp_path / "scene.glb")) == {"camera_0000", "camera_0001"}


@pytest.mark.parametrize(("name", "colour"), [("filter_black_bg", 3), ("filter_white_bg", 250)])
def test_a_plain_background_can_be_omitted(plane_scene, tmp_path, name, colour):
    plane_scene.conf[:] = np.linspace(2, 9, plane_scene.conf.size).reshape(plane_scene.conf.shape)
    plane_scene.processed_images[:, 30:] = colour
    options = ExportOptions(conf_thresh_percentile=0.0, export_kwargs={"glb": {name: True, "export_depth_vis": False}})
    before = plane_scene.conf.copy()
    export(plane_scene, tmp_path, "glb", options=options)
    assert len(read_glb(tmp_path / "scene.glb")["points"]) == plane_scene.conf[:, :30].size
    np.testing.assert_array_equal(plane_scene.conf, before)


@pytest.mark.parametrize("formats", ["ply", "glb"])
def test_a_full_disk_leaves_nothing_half_written(plane_scene, tmp_path, formats):
    with full_disk(10_000), pytest.raises(ExportError, match="cannot be written"):
        export(plane_scene, tmp_path, formats)
    assert list(tmp_path.iterdir()) == []


def test_an_export_does_not_change_the_prediction(plane_scene, tmp_path):
    before = {name: np.copy(getattr(plane_scene, name)) for name in ("depth", "conf", "extrinsics", "intrinsics")}
    export(plane_scene, tmp_path, "ply-glb-colmap-tiff")
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(plane_scene, name), value)


def test_extras_are_plain_json(plane_scene, tmp_path):
    export(plane_scene, tmp_path, "glb")
    assert set(json.loads(json.dumps(extras(tmp_path / "scene.glb")))) >= {"hf_alignment"}
