"""Call patterns of public programs that use upstream's modules: each row names them and asserts the values.

Rows for the API are in `test_upstream_api.py`, for networks, services and the command in `test_upstream_modules.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import trimesh

from depth_anything_3 import Prediction
from depth_anything_3.errors import InvalidInputError, ShapeMismatchError, UnsupportedError
from depth_anything_3.export import export as write_results
from depth_anything_3.export import load_prediction
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.export.point_cloud import gather_points
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.model.metric_scale import align_to_metric, canonical_to_metric
from depth_anything_3.prediction.pose_alignment import fit_similarity, rigid_inverse
from support.upstream_patterns import SIZE, Patterns, Scene, compute_views

PATTERNS = Patterns()


@pytest.fixture(scope="module")
def views(seeded_small, tmp_path_factory):
    return compute_views(seeded_small, tmp_path_factory.mktemp("views"))


@pytest.fixture
def scene(seeded_small, small_checkpoint, views, tmp_path) -> Scene:
    return Scene(seeded_small, small_checkpoint, *views, tmp_path)


# Visualisation, logging, constants


@PATTERNS.row("visualize_depth(depth, cmap=...)", "upstream's notebook, mairod, khan-khub, lei-jx24, DA3-SLAM")
def visualize(scene: Scene) -> None:
    from depth_anything_3.utils.visualize import visualize_depth

    depth = scene.prediction.depth[1]
    image = visualize_depth(depth, cmap="Spectral")
    np.testing.assert_array_equal(image, colorize_depth(depth))
    np.testing.assert_array_equal(visualize_depth(torch.from_numpy(depth)), image)


@PATTERNS.row("visualize_depth(depth, depth_min=, depth_max=)", "programs that compare two maps, NetsumaInfo")
def visualize_range(scene: Scene) -> None:
    from depth_anything_3.utils.visualize import visualize_depth

    depth = scene.prediction.depth[0]
    _, low, high = visualize_depth(scene.prediction.depth[1], ret_minmax=True)
    image = visualize_depth(depth, depth_min=low, depth_max=high)
    np.testing.assert_array_equal(image, colorize_depth(depth, (low, high)))


@PATTERNS.row("logger.info(...), .warn(...)", "itu-auv, DynaDA3, GenRec")
def log(scene: Scene) -> None:
    from depth_anything_3.utils.logger import logger

    records: list[logging.LogRecord] = []
    target, handler = logging.getLogger("depth_anything_3"), logging.Handler()
    handler.emit = records.append
    target.addHandler(handler)
    try:
        for method in (logger.warning, logger.warn, logger.error):
            method("100%", 3, "views")
        logger.info("loaded")
        logger.debug("loaded")
    finally:
        target.removeHandler(handler)
    assert [one.levelname for one in records][:3] == ["WARNING", "WARNING", "ERROR"]
    assert {(one.getMessage(), one.filename) for one in records[:3]} == {("100% 3 views", Path(__file__).name)}


@PATTERNS.row("DEFAULT_MODEL, DEFAULT_EXPORT_DIR", "tianxingleo, cympyc1785")
def constants(scene: Scene) -> None:
    from depth_anything_3.utils import constants as upstream

    cards = [card for card in MODEL_CARDS.values() if upstream.DEFAULT_MODEL in card.hub_ids]
    assert [card.name for card in cards] == ["da3nested-giant-large"]
    assert (upstream.DEFAULT_EXPORT_DIR, upstream.THRESH_FOR_REF_SELECTION) == ("debug", 3)


@PATTERNS.row("Prediction(depth=..., is_metric=..., conf=...), Gaussians(...)", "xclients, nerfbaselines, tianxingleo")
def specs(scene: Scene) -> None:
    from depth_anything_3.specs import Gaussians as SpecsGaussians
    from depth_anything_3.specs import Prediction as SpecsPrediction

    assert (SpecsPrediction, SpecsGaussians) == (Prediction, Gaussians)
    made = SpecsPrediction(depth=scene.prediction.depth, is_metric=1, conf=scene.prediction.conf, aux={})
    assert (made.is_metric, made.gaussians, made.scale_factor) == (1, None, None)


# Geometry and alignment


@PATTERNS.row("affine_inverse(w2c), as_homogeneous(w2c)", "Chuong98CC, DROID batch, GenRec")
def poses(scene: Scene) -> None:
    from depth_anything_3.utils.geometry import affine_inverse, affine_inverse_np, as_homogeneous

    w2c = scene.prediction.extrinsics
    whole = as_homogeneous(w2c)
    assert (whole.shape, whole.dtype) == ((2, 4, 4), np.float32)
    np.testing.assert_array_equal(whole[:, 3], [[0, 0, 0, 1]] * 2)
    assert as_homogeneous(whole) is whole
    tensor = torch.from_numpy(whole)
    np.testing.assert_array_equal(as_homogeneous(torch.from_numpy(w2c)), tensor)
    inverse = affine_inverse(tensor[None])
    assert inverse.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(inverse[0], rigid_inverse(whole), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(affine_inverse_np(w2c), inverse[0, :, :3])


@PATTERNS.row("unproject_depth(depth[None, ..., None], K[None], c2w[None])", "cympyc1785, amb3r, point cloud scripts")
def unproject(scene: Scene) -> None:
    from depth_anything_3.utils.geometry import affine_inverse, as_homogeneous, unproject_depth

    prediction = scene.prediction
    depth, intrinsics, w2c = map(torch.from_numpy, (prediction.depth, prediction.intrinsics, prediction.extrinsics))
    points = unproject_depth(depth[None, ..., None], intrinsics[None], affine_inverse(as_homogeneous(w2c))[None])
    assert (points.shape, points.dtype) == ((1, 2, *SIZE, 3), torch.float32)
    expected = gather_points(prediction, None, 0.0, None).points.reshape(2, *SIZE, 3)
    assert np.abs(points[0].numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    camera = unproject_depth(depth[..., None], intrinsics)
    np.testing.assert_array_equal(camera[..., 2], depth)


@PATTERNS.row("the steps of metric alignment", "DA3-blender, OccAny, ONNX and TensorRT exporters")
def align_metric(scene: Scene) -> None:
    from depth_anything_3.utils import alignment

    generator = torch.Generator().manual_seed(0)
    depth, conf, canonical, sky = torch.rand(4, 1, 2, *SIZE, generator=generator).add(0.1)
    intrinsics, extrinsics = (
        torch.from_numpy(one)[None] for one in (scene.prediction.intrinsics, scene.prediction.extrinsics)
    )
    metric = alignment.apply_metric_scaling(canonical, intrinsics)
    torch.testing.assert_close(metric, canonical_to_metric(canonical, intrinsics), rtol=0, atol=0)
    ground = alignment.compute_sky_mask(sky, threshold=0.3)
    median = torch.quantile(alignment.sample_tensor_for_quantile(conf[ground], max_samples=100_000), 0.5)
    used = alignment.compute_alignment_mask(conf, ground, depth, metric, median)
    scale = alignment.least_squares_scale_scalar(metric[used], depth[used])
    far = min(float(torch.quantile((depth * scale)[ground], 0.99)), 200.0)
    filled, sure = alignment.set_sky_regions_to_max_depth(depth * scale, conf, ground, max_depth=far)
    ours = align_to_metric(depth, conf, extrinsics, metric, sky)
    torch.testing.assert_close(scale, ours.scale_factor[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(filled, ours.depth, rtol=1e-5, atol=0)
    torch.testing.assert_close(sure, ours.depth_conf, rtol=0, atol=0)
    sample = alignment.sample_tensor_for_quantile(depth, max_samples=100)
    assert sample.shape == (100,)
    assert torch.isin(sample, depth).all()


@PATTERNS.row("align_poses_umeyama(ext_ref, ext_est, return_aligned=, ransac=, ...)", "Chuong98CC, GenRec")
def align_poses(scene: Scene) -> None:
    from depth_anything_3.utils.pose_align import align_poses_umeyama

    rng = np.random.default_rng(0)
    estimate = np.tile(np.eye(4), (12, 1, 1))
    estimate[:, :3, :3] = np.linalg.qr(rng.normal(size=(12, 3, 3)))[0]
    estimate[:, :3, :3] *= np.sign(np.linalg.det(estimate[:, :3, :3]))[:, None, None]
    estimate[:, :3, 3] = rng.normal(size=(12, 3))
    turn, move, scale = estimate[0, :3, :3], np.array([1.0, 2.0, 3.0]), 2.5
    moved = rigid_inverse(estimate)
    moved[:, :3, 3] = scale * moved[:, :3, 3] @ turn.T + move
    moved[:, :3, :3] = turn @ moved[:, :3, :3]
    reference = rigid_inverse(moved)
    for ransac in (False, True):
        rotation, translation, found, aligned = align_poses_umeyama(
            reference[:, :3], estimate, return_aligned=True, ransac=ransac, random_state=42
        )
        np.testing.assert_allclose(rotation, turn, atol=1e-6)
        np.testing.assert_allclose(translation, move, atol=1e-6)
        assert found == pytest.approx(scale)
        assert aligned.shape == (12, 4, 4)
        np.testing.assert_allclose(aligned, reference, atol=1e-5)
    reference[3, :3, 3] += 50.0  # an outlier
    with_outlier = align_poses_umeyama(reference, estimate, ransac=True, random_state=42)
    assert len(with_outlier) == 3
    assert with_outlier[2] == pytest.approx(fit_similarity(estimate, reference).scale)
    assert with_outlier[2] == pytest.approx(scale)
    assert align_poses_umeyama(reference, estimate)[2] != pytest.approx(scale)


# Export


@PATTERNS.row("export(prediction, 'glb-mini_npz', folder, glb={...})", "infer_demo, WebUIs, GenRec")
def export(scene: Scene) -> None:
    from depth_anything_3.utils.export import export as upstream_export

    options = {"num_max_points": 500, "show_cameras": False, "conf_thresh_percentile": 10.0}
    upstream_export(scene.prediction, "mini_npz-glb", str(scene.folder / "out"), glb=options)
    loaded = load_prediction(scene.folder / "out" / "exports" / "mini_npz" / "results.npz")
    np.testing.assert_allclose(loaded.depth, scene.prediction.depth, atol=1e-6)
    (points,) = trimesh.load_scene(scene.folder / "out" / "scene.glb").geometry.values()
    assert points.vertices.shape == (500, 3)
    with pytest.raises(InvalidInputError, match="npz has no option 'level'"):
        upstream_export(scene.prediction, "npz", scene.folder, npz={"level": 9})


@PATTERNS.row("export_to_glb(prediction, folder, num_max_points=...)", "fork tutorial, NetsumaInfo, DA3-blender")
def export_glb(scene: Scene) -> None:
    from depth_anything_3.utils.export.glb import export_to_glb

    path = export_to_glb(scene.prediction, str(scene.folder / "a"), num_max_points=1000, export_depth_vis=False)
    assert path == str(scene.folder / "a" / "scene.glb")
    assert [one.name for one in (scene.folder / "a").iterdir()] == ["scene.glb"]
    export_to_glb(scene.prediction, scene.folder / "b", show_cameras=True)
    write_results(scene.prediction, scene.folder / "c", "glb")
    written = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (scene.folder / "b", scene.folder / "c")]
    assert written[0] == written[1]
    assert (scene.folder / "b" / "scene.glb").read_bytes() == (scene.folder / "c" / "scene.glb").read_bytes()


@PATTERNS.row("_depths_to_world_points_with_colors and the like", "xclients, NetsumaInfo, nerfbaselines")
def glb_helpers(scene: Scene) -> None:
    from depth_anything_3.utils.export import glb

    prediction = scene.prediction
    threshold = glb.get_conf_thresh(prediction, None, 1.05, 40.0)
    assert threshold == pytest.approx(np.percentile(prediction.conf, 40.0))
    points, colors = glb._depths_to_world_points_with_colors(
        prediction.depth,
        prediction.intrinsics,
        prediction.extrinsics,
        prediction.processed_images,
        prediction.conf,
        threshold,
    )
    assert (points.dtype, colors.dtype) == (np.float32, np.uint8)
    mask = prediction.conf >= threshold
    np.testing.assert_array_equal(colors, prediction.processed_images[mask])
    rays = np.linalg.inv(prediction.intrinsics[0].astype(float)) @ [83.0, 55.0, 1.0] * prediction.depth[0, 55, 83]
    last = np.linalg.inv(glb._as_homogeneous44(prediction.extrinsics[0])) @ [*rays, 1.0]
    everything, _ = glb._depths_to_world_points_with_colors(
        depth=prediction.depth,
        K=prediction.intrinsics,
        ext_w2c=prediction.extrinsics,
        images_u8=prediction.processed_images,
        conf=None,
        conf_thr=-np.inf,
    )
    np.testing.assert_allclose(everything[SIZE[0] * SIZE[1] - 1], last[:3], rtol=1e-4)
    to_file = glb._compute_alignment_transform_first_cam_glTF_center_by_points(prediction.extrinsics[0], points)
    moved = trimesh.transform_points(points, to_file)
    np.testing.assert_allclose(np.median(moved, axis=0), 0, atol=1e-4)
    moved[7] = np.nan
    kept, kept_colors = glb._filter_and_downsample(moved, colors, 100)
    assert (kept.shape, kept_colors.shape, np.isfinite(kept).all()) == ((100, 3), (100, 3), True)
    made = trimesh.Scene(metadata={"hf_alignment": to_file})
    scale = glb._estimate_scene_scale(kept, fallback=1.0) * 0.03
    glb._add_cameras_to_scene(made, prediction.intrinsics, prediction.extrinsics, [SIZE] * 2, scale)
    centre = np.linalg.inv(glb._as_homogeneous44(prediction.extrinsics[1]))[:, 3]
    np.testing.assert_allclose(made.geometry["camera_0001"].vertices[0], (to_file @ centre)[:3], atol=1e-4)


@PATTERNS.row("export_to_gs_ply(prediction, folder), save_gaussian_ply(gaussians, path, depth, ...)", "tianxingleo")
def export_gaussians(scene: Scene) -> None:
    from depth_anything_3.utils.export.gs import export_to_gs_ply
    from depth_anything_3.utils.gsply_helpers import save_gaussian_ply

    prediction = with_gaussians(scene.prediction)
    export_to_gs_ply(prediction, str(scene.folder), gs_views_interval=1)
    write_results(prediction, scene.folder / "ours", "gs_ply")
    expected = (scene.folder / "ours" / "gs_ply" / "0000.ply").read_bytes()
    assert (scene.folder / "gs_ply" / "0000.ply").read_bytes() == expected
    call = {
        "gaussians": prediction.gaussians,
        "ctx_depth": torch.from_numpy(prediction.depth)[..., None],
        "shift_and_scale": False,
        "save_sh_dc_only": True,
        "gs_views_interval": 1,
        "inv_opacity": True,
        "prune_by_depth_percent": 0.9,
        "prune_border_gs": True,
        "match_3dgs_mcmc_dev": False,
    }
    save_gaussian_ply(save_path=str(scene.folder / "one.ply"), **call)
    assert (scene.folder / "one.ply").read_bytes() == expected
    save_gaussian_ply(save_path=scene.folder / "all.ply", **call | {"prune_by_depth_percent": 1, "prune_border_gs": 0})
    assert f"element vertex {prediction.depth.size}\n".encode() in (scene.folder / "all.ply").read_bytes()
    with pytest.raises(UnsupportedError, match="save_sh_dc_only=False is not supported"):
        save_gaussian_ply(save_path=scene.folder / "no.ply", **call | {"save_sh_dc_only": False})
    with pytest.raises(UnsupportedError, match="gs_ply needs 3D Gaussians"):
        export_to_gs_ply(scene.prediction, scene.folder)


@PATTERNS.row("export_to_colmap(prediction, folder, image_paths)", "KITTI evaluation, DA3 streaming wrappers")
def export_colmap(scene: Scene) -> None:
    from depth_anything_3.utils.export.colmap import export_to_colmap

    write_results(scene.prediction, scene.folder / "ours", "colmap")
    made = replace(scene.prediction, sources=(), source_hw=(), source_scale=())  # as clients make predictions
    for prediction in (scene.prediction, made):
        export_to_colmap(prediction, str(scene.folder / "a"), scene.images, conf_thresh_percentile=40.0)
        for file in (scene.folder / "ours").iterdir():
            assert (scene.folder / "a" / file.name).read_bytes() == file.read_bytes(), file.name
    with pytest.raises(UnsupportedError, match="not the files"):
        export_to_colmap(scene.prediction, scene.folder, scene.images[::-1])
    with pytest.raises(ShapeMismatchError, match="1 image_paths for 2 views"):
        export_to_colmap(made, scene.folder, scene.images[:1])


def with_gaussians(prediction: Prediction) -> Prediction:
    count, generator = prediction.depth.size, torch.Generator().manual_seed(0)
    means, scales, rotations, harmonics, opacities = (
        torch.rand(1, count, *shape, generator=generator) for shape in ((3,), (3,), (4,), (3, 9), ())
    )
    return replace(prediction, gaussians=Gaussians(means, scales, rotations, harmonics, opacities))


@PATTERNS.row("cleanup_cuda_memory()", "Gradio-like programs")
def clean_memory(scene: Scene) -> None:
    from depth_anything_3.utils.memory import cleanup_cuda_memory

    assert cleanup_cuda_memory() is None


@pytest.mark.parametrize("one", [pytest.param(one, id=one.call) for one in PATTERNS])
def test_pattern(scene, one):
    one.check(scene)


# What the rows do not show


@pytest.mark.parametrize("cmap", ["Spectral", "viridis"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_depth_is_coloured_as_matplotlib_colours_inverse_depth(scene, cmap, kind):
    from depth_anything_3.utils.visualize import visualize_depth

    depth = scene.prediction.depth[0].copy()
    depth[:2] = 0  # invalid
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), 0).astype(np.float32)
    low, high = np.percentile(inverse[depth > 0], (5, 95))
    expected = matplotlib.colormaps[cmap](1 - np.clip((inverse - low) / (high - low), 0, 1))[..., :3]
    image, *bounds = visualize_depth(depth, percentile=5, ret_minmax=True, ret_type=kind, cmap=cmap)
    assert (image.dtype, image.shape) == (kind, (*SIZE, 3))
    levels = 255.0 if kind == np.uint8 else 1.0
    # A value at the edge of a level may round to the next one.
    close = np.abs(image / levels - expected).max(axis=-1) <= 1.01 / 255
    assert close.mean() > 0.999
    np.testing.assert_allclose(bounds, (low, high), rtol=1e-6)


def test_options_outside_a_format_are_ignored_with_a_warning(scene, caplog):
    from depth_anything_3.utils.export import export

    export(scene.prediction, "npz", scene.folder, export_depth_vis=True)
    assert caplog.messages == ["export ignores export_depth_vis=True; give options by format, such as glb={...}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ret_type": np.int16}, "ret_type"),
        ({"cmap": "no such map"}, "no colour map of matplotlib"),
        ({"percentile": 60}, "from 0 to 50"),
    ],
)
def test_colouring_rejects_what_it_cannot_do(options, message):
    from depth_anything_3.utils.visualize import visualize_depth

    with pytest.raises(InvalidInputError, match=message):
        visualize_depth(np.ones((4, 4), np.float32), **options)
