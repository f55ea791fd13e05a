"""`gs_ply` and `gs_video`: 3D Gaussians, for viewers and as a flight through them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from plyfile import PlyData

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.formats import gs_video as gs_video_module
from depth_anything_3.export.formats.gs_ply import GsPlyOptions
from depth_anything_3.export.formats.gs_ply import write as write_gs_ply
from depth_anything_3.export.formats.gs_video import GsVideoOptions, centred
from depth_anything_3.export.gsplat_rasterizer import GsplatRasterizer
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction import Prediction
from support.goldens import unit_case


def gaussians_of(depth: np.ndarray, means: np.ndarray | None = None) -> Gaussians:
    rng = np.random.default_rng(2)
    count = depth.size
    quaternions = rng.normal(size=(1, count, 4))
    values = {
        "means": rng.normal(size=(1, count, 3)) if means is None else means,
        "scales": rng.uniform(1e-4, 0.1, (1, count, 3)),
        "rotations": quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True),
        "harmonics": rng.normal(size=(1, count, 3, 9)),
        "opacities": rng.uniform(0.01, 0.99, (1, count)),
    }
    return Gaussians(**{name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()})


@pytest.fixture
def golden():
    return unit_case("units_gaussians")


def test_the_selection_is_the_goldens(golden, tmp_path):
    # The golden file holds rows of Gaussians that are not in it. Where these lie tells which pixels they are of: each
    # Gaussian is named by its number here, and the golden rows are projected back.
    depth = golden["in/depth"][0]
    numbers = np.zeros((1, depth.size, 3))
    numbers[0, :, 0] = np.arange(depth.size)
    scene = Prediction(depth=depth, gaussians=gaussians_of(depth, numbers))
    (path,) = export(scene, tmp_path, "gs_ply")
    vertices = PlyData.read(path)["vertex"]
    assert len(vertices) == golden["ply/count"]
    assert [one.name for one in vertices.properties] == golden["ply/properties"].tolist()
    rows = golden["ply/rows_picked"]
    picked = vertices["x"][:: int(golden["ply/rows_stride"])].astype(int)
    assert len(picked) == len(rows)
    view, row, column = np.unravel_index(picked, depth.shape)
    pose = golden["in/extrinsics"][0, view]
    seen = np.einsum("nij,nj->ni", golden["in/intrinsics"][0, view] @ pose[:, :3, :3], rows[:, :3])
    seen += np.einsum("nij,nj->ni", golden["in/intrinsics"][0, view], pose[:, :3, 3])
    offset = seen[:, :2] / seen[:, 2:] - np.stack([column + 0.5, row + 0.5], axis=1)
    # The head moves Gaussians by a pixel or so.
    assert np.median(np.abs(offset)) < 2
    assert np.abs(offset).max() < 6
    np.testing.assert_array_equal(rows[:, 3:6], 0)


def test_columns_hold_3dgs_values_before_activation(tmp_path):
    depth = np.random.default_rng(0).uniform(1, 9, (1, 64, 96)).astype(np.float32)
    gaussians = gaussians_of(depth)
    (path,) = export(Prediction(depth=depth, gaussians=gaussians), tmp_path, "gs_ply", "ü")
    assert path == tmp_path / "gs_ply" / "ü.ply"
    vertices = PlyData.read(path)["vertex"]
    inside = np.zeros((64, 96), bool)
    inside[2:-2, 3:-3] = True
    selected = np.flatnonzero(inside & (depth[0] <= np.quantile(depth, 0.9)))
    assert len(vertices) == len(selected)

    def columns(*names):
        return np.stack([vertices[name] for name in names], axis=1)

    flat = {name: value[0].numpy()[selected] for name, value in vars(gaussians).items() if value is not None}
    np.testing.assert_array_equal(columns("x", "y", "z"), flat["means"])
    np.testing.assert_array_equal(columns("nx", "ny", "nz"), 0)
    np.testing.assert_array_equal(columns("f_dc_0", "f_dc_1", "f_dc_2"), flat["harmonics"][:, :, 0])
    np.testing.assert_array_equal(columns("rot_0", "rot_1", "rot_2", "rot_3"), flat["rotations"])
    np.testing.assert_allclose(np.exp(columns("scale_0", "scale_1", "scale_2")), flat["scales"], rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertices["opacity"].astype(np.float64))), flat["opacities"], rtol=1e-5)


def test_certain_and_empty_gaussians_have_finite_columns(tmp_path):
    depth = np.ones((1, 2, 2), np.float32)
    gaussians = gaussians_of(depth)
    gaussians.opacities[0, :2] = torch.tensor([0.0, 1.0])
    gaussians.scales[0, 2] = 0
    gaussians.means[0, 3] = torch.nan
    (path,) = export(Prediction(depth=depth, gaussians=gaussians), tmp_path, "gs_ply")
    vertices = PlyData.read(path)["vertex"]
    assert len(vertices) == 3  # without the one whose place is not known; small views have no border
    assert all(np.isfinite(vertices[one.name]).all() for one in vertices.properties)


@pytest.mark.parametrize(("views", "interval", "selected"), [(5, 1, 5), (5, 2, 3), (30, None, 15), (5, None, 5)])
def test_views_can_be_omitted(tmp_path, views, interval, selected):
    depth = np.ones((views, 4, 4), np.float32)
    prediction = Prediction(depth=depth, gaussians=gaussians_of(depth))
    (path,) = write_gs_ply(prediction, tmp_path, None, GsPlyOptions(gs_views_interval=interval))
    assert len(PlyData.read(path)["vertex"]) == selected * 16


def test_gaussians_of_another_scene_are_refused(tmp_path):
    scene = Prediction(depth=np.ones((1, 4, 4), np.float32), gaussians=gaussians_of(np.ones((2, 4, 4))))
    with pytest.raises(InvalidInputError, match="32 Gaussians for 1 views of 4x4"):
        export(scene, tmp_path, "gs_ply")


# gs_video


class StandIn:
    """In place of gsplat: each frame's colour tells its number; depth falls off from left to right."""

    def __init__(self, gaussians):
        self.gaussians = gaussians
        self.poses, self.intrinsics, self.chunks = [], [], []

    def __call__(self, world_to_camera, intrinsics, size_hw):
        self.chunks.append(len(world_to_camera))
        first = len(self.poses)
        self.poses += list(world_to_camera)
        self.intrinsics += list(intrinsics)
        rgb = np.ones((len(world_to_camera), *size_hw, 3), np.float32)
        rgb *= (np.arange(first, first + len(rgb)) / 255.0)[:, None, None, None]
        depth = np.broadcast_to(np.geomspace(1, 50, size_hw[1], dtype=np.float32), rgb.shape[:3]).copy()
        depth[:, 0] = 0  # nothing there
        return rgb, depth


@pytest.fixture
def fly(plane_scene_of, tmp_path):
    def run(views=3, name=None, change=lambda scene: None, **options):
        scene = plane_scene_of(views)
        scene.gaussians = gaussians_of(scene.depth)
        change(scene)
        made = []

        def make(gaussians):
            made.append(StandIn(gaussians))
            return made[0]

        (path,) = gs_video_module.write(scene, tmp_path, name, GsVideoOptions(**options), make_rasterizer=make)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 24
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return scene, made[0], path.relative_to(tmp_path).as_posix(), frames

    return run


def test_a_video_shows_each_view_and_its_depth_beside_it(fly):
    scene, stand_in, path, frames = fly(views=6, trj_mode="original")
    assert path == "gs_video/0000_original.mp4"
    assert stand_in.gaussians is scene.gaussians
    assert stand_in.chunks == [4, 2]
    assert len(frames) == 6
    np.testing.assert_allclose(np.array(stand_in.poses)[:, :3], scene.extrinsics, atol=1e-6)
    for number, frame in enumerate(frames):
        assert frame.shape == (42, 56 + 8 + 56, 3)
        assert abs(float(frame[:, :48].mean()) - number) < 4
        assert frame[20, 58:62].min() > 235  # the white gap
        left, right = frame[20, 70].astype(int), frame[20, -6].astype(int)
        assert left[0] > left[2]  # near is red
        assert right[2] > right[0]  # far is blue


def test_depth_can_be_omitted_and_frames_have_the_size_asked_for(fly):
    frames = fly(trj_mode="original", vis_depth=None, out_image_hw=(30, 50), video_quality="low")[3]
    assert frames[0].shape == (30, 50, 3)


def test_an_independent_image_gets_a_wandering_camera(fly):
    _, stand_in, path, frames = fly(views=1, name="ü")
    assert path == "gs_video/ü.mp4"
    assert len(frames) == len(stand_in.poses) == 122


def test_a_nested_models_poses_go_back_to_the_unit_of_the_gaussians(fly):
    def make_metric(scene):
        scene.scale_factor = 4.0
        scene.extrinsics[:, :, 3] *= 4.0

    plain, metric = fly(trj_mode="original")[1], fly(trj_mode="original", change=make_metric)[1]
    np.testing.assert_allclose(plain.poses, metric.poses, atol=1e-6)


def test_the_cameras_of_the_gaussians_come_before_those_of_the_prediction(fly):
    def align_to_given_poses(scene):
        own = {name: torch.from_numpy(getattr(scene, name).copy())[None] for name in ("extrinsics", "intrinsics")}
        scene.gaussians = replace(scene.gaussians, **own)
        scene.extrinsics[:, :, 3] = 5 * scene.extrinsics[:, :, 3] + 1
        scene.intrinsics[:, 0, 0] *= 2
        scene.scale_factor = 4.0

    plain, aligned = (fly(trj_mode="original", change=change)[1] for change in (lambda _: None, align_to_given_poses))
    np.testing.assert_allclose(plain.poses, aligned.poses, atol=1e-6)
    np.testing.assert_allclose(plain.intrinsics, aligned.intrinsics, rtol=1e-6)


def test_given_cameras_are_rendered_from(fly):
    poses = torch.eye(4).repeat(1, 5, 1, 1)
    poses[0, :, 0, 3] = torch.arange(5)
    intrinsics = torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]).repeat(1, 5, 1, 1)
    _, stand_in, _, frames = fly(
        extrinsics=poses, intrinsics=intrinsics, out_image_hw=(30, 40), trj_mode="original", vis_depth="none"
    )
    assert len(frames) == 5
    np.testing.assert_allclose(stand_in.poses, poses[0])
    np.testing.assert_allclose(stand_in.intrinsics, intrinsics[0], rtol=1e-6)


def test_an_off_centre_principal_point_is_dropped_but_not_the_fov():
    middle = np.array([[[1.2, 0, 0.5], [0, 1.6, 0.5], [0, 0, 1]]])
    np.testing.assert_allclose(centred(middle, (30, 40)), [[[48, 0, 20], [0, 48, 15], [0, 0, 1]]], rtol=1e-12)
    off = middle + np.array([[[0, 0, 0.2], [0, 0, 0], [0, 0, 0]]])
    left, right = np.arctan2(0.7, 1.2), np.arctan2(0.3, 1.2)
    assert centred(off, (30, 40))[0, 0, 0] == pytest.approx(20 / np.tan((left + right) / 2))


def test_without_gsplat_the_extra_is_named(tmp_path, plane_scene):
    plane_scene.gaussians = gaussians_of(plane_scene.depth)
    with pytest.raises(UnsupportedError, match=r"gs_video needs the package gsplat.*\[gsplat\]"):
        export(plane_scene, tmp_path, "npz-gs_video", options=ExportOptions())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnsupportedError, match="gsplat"):
        GsplatRasterizer(plane_scene.gaussians)


def test_gsplat_is_called_as_it_documents(monkeypatch):
    seen = {}

    def rasterization(**given):
        seen.update(given)
        frames = len(given["viewmats"])
        return torch.ones(frames, given["height"], given["width"], 4), None, {}

    monkeypatch.setitem(__import__("sys").modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    to, as_tensor = torch.Tensor.to, torch.as_tensor
    monkeypatch.setattr(torch.Tensor, "to", lambda self, _device, dtype: to(self, dtype))
    monkeypatch.setattr(torch, "as_tensor", lambda values, dtype, device: as_tensor(values, dtype=dtype))
    gaussians = gaussians_of(np.ones((1, 3, 5)))
    rgb, depth = GsplatRasterizer(gaussians)(np.tile(np.eye(4), (2, 1, 1)), np.tile(np.eye(3), (2, 1, 1)), (3, 5))
    assert (rgb.shape, depth.shape) == ((2, 3, 5, 3), (2, 3, 5))
    shapes = {name: tuple(value.shape) for name, value in seen.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "means": (15, 3),
        "quats": (15, 4),
        "scales": (15, 3),
        "opacities": (15,),
        "colors": (15, 9, 3),
        "viewmats": (2, 4, 4),
        "Ks": (2, 3, 3),
    }
    np.testing.assert_array_equal(seen["colors"][4, :, 1], gaussians.harmonics[0, 4, 1])
    assert (seen["render_mode"], seen["sh_degree"], seen["packed"]) == ("RGB+ED", 2, False)
