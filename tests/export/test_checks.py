"""Formats that cannot be written are rejected with a hint before anything is computed."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import FORMATS, AvailableFields, ExportOptions, check_formats, export, result_files
from depth_anything_3.export.camera_path import TrjMode
from depth_anything_3.export.formats.glb import GlbOptions
from depth_anything_3.export.formats.gs_video import GsVideoOptions, VisDepth
from depth_anything_3.export.options import ExportKwargs
from depth_anything_3.export.registry import find_format
from depth_anything_3.model.catalog import MODEL_CARDS

ANY_VIEW = AvailableFields.expected(MODEL_CARDS["da3-base"])
MONO = AvailableFields.expected(MODEL_CARDS["da3mono-large"])
GIANT = AvailableFields.expected(MODEL_CARDS["da3-giant"], gaussians=True, features=True)


@pytest.fixture(autouse=True)
def everything_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: find("json") if name == "gsplat" else find(name))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


def test_everything_can_be_written_where_everything_is_there():
    assert check_formats("-".join(one.name for one in FORMATS), GIANT) == FORMATS


@pytest.mark.parametrize(
    ("formats", "available", "message"),
    [
        pytest.param(
            "glb", MONO, "glb needs camera poses, which da3mono-large does not have; use da3-small", id="glb-mono"
        ),
        pytest.param("npz-colmap", MONO, "colmap needs camera poses, which da3mono-large", id="colmap-mono"),
        pytest.param("ply", MONO, "ply needs the camera's focal length, .*; pass intrinsics=", id="ply-mono"),
        pytest.param(
            "ply",
            replace(MONO, intrinsics=True),
            "ply needs camera poses for several views, .* compute .* independently",
            id="ply-scene",
        ),
        pytest.param("gs_ply", ANY_VIEW, "gs_ply needs 3D Gaussians, .* infer_gs=True with da3-giant", id="gs_ply"),
        pytest.param("gs_video", ANY_VIEW, "gs_video needs 3D Gaussians, .*infer_gs=True", id="gs_video"),
        pytest.param("feat_vis", ANY_VIEW, "feat_vis needs features .* pass export_feat_layers", id="feat_vis"),
        pytest.param(
            "colmap", replace(ANY_VIEW, paths=False), "colmap needs the names of the image files", id="no-paths"
        ),
        pytest.param(
            "colmap", replace(ANY_VIEW, uncropped=False), "colmap needs uncropped images.*_resize", id="cropped"
        ),
        pytest.param("glb", replace(ANY_VIEW, images=False), "glb needs the images", id="no-images"),
    ],
)
def test_what_cannot_be_written_is_an_error_with_a_hint(formats, available, message):
    with pytest.raises(UnsupportedError, match=message):
        check_formats(formats, available)


@pytest.mark.parametrize("formats", ["mini_npz-npz-depth_png-depth_vis-tiff-exr", "depth_vis"])
def test_depth_alone_needs_nothing(formats):
    check_formats(formats, MONO)


def test_an_image_of_known_focal_length_gives_points_without_poses():
    check_formats("ply", replace(MONO, intrinsics=True, views=1))


@pytest.mark.parametrize(
    ("formats", "package", "hint"),
    [
        ("exr", "OpenEXR", r"pip install '\.\[exr\]'"),
        ("glb", "trimesh", "pip install trimesh"),
        ("gs_video", "gsplat", r"pip install '\.\[gsplat\]'"),
        ("gs_video", "av", r"pip install '\.\[video\]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, formats, package, hint):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(UnsupportedError, match=f"needs the package {package}, which is not installed; run .*{hint}"):
        check_formats(formats, GIANT)


def test_a_video_of_gaussians_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="gs_video needs a CUDA GPU"):
        check_formats("gs_video", GIANT)


def test_a_prediction_that_lacks_something_writes_nothing_at_all(plane_scene, tmp_path):
    plane_scene.extrinsics = None
    with pytest.raises(InvalidInputError, match="glb needs camera poses, which this prediction does not have"):
        export(plane_scene, tmp_path, "npz-glb")
    assert list(tmp_path.iterdir()) == []


def test_arrays_have_no_names_for_colmap(plane_scene, tmp_path):
    plane_scene.sources = ("image 0 (array 300x400x3)", "image 1 (array 300x400x3)")
    with pytest.raises(InvalidInputError, match="colmap needs the names of the image files"):
        export(plane_scene, tmp_path, "colmap")


# Options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"glb": {"cameras": 1}}, "glb has no option 'cameras'; it has: .*camera_size", id="name"),
        pytest.param({"obj": {}}, "format 'obj' is unknown; choose from: mini_npz, npz", id="format"),
        pytest.param({"npz": {"level": 9}}, "npz has no option 'level'; it has no options", id="none"),
        pytest.param({"gs_video": {"trj_mode": "loop"}}, "trj_mode='loop' is unknown; choose 'original'", id="mode"),
        pytest.param({"gs_video": {"chunk_size": 0}}, "chunk_size=0: give a whole number, 1 or more", id="chunk"),
        pytest.param({"gs_ply": {"gs_views_interval": 1.5}}, "gs_views_interval=1.5: give a whole", id="interval"),
        pytest.param({"glb": {"ensure_thresh_percentile": 101}}, "percentile=101 is not a percentile", id="percentile"),
    ],
)
def test_an_option_that_is_not_accepted_is_an_error_before_computing(given, message):
    with pytest.raises(InvalidInputError, match=message):
        check_formats(FORMATS, GIANT, ExportOptions(export_kwargs=given))


@pytest.mark.parametrize(
    "given",
    [{"conf_thresh_percentile": -1}, {"num_max_points": 0}, {"feat_vis_fps": 0}],
)
def test_a_wrong_parameter_is_an_error_whatever_is_written(given):
    (name,) = given
    with pytest.raises(InvalidInputError, match=name):
        ExportOptions(**given)


POSES, MATRICES = np.ones((2, 4, 4)), np.ones((2, 3, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"render_exts": POSES}, "must be given together", id="alone"),
        pytest.param({"render_exts": POSES, "render_ixts": MATRICES[:1]}, "render_exts", id="counts"),
        pytest.param({"render_exts": POSES[:, :2], "render_ixts": MATRICES}, "render_exts", id="rows"),
        pytest.param({"render_exts": POSES[0], "render_ixts": MATRICES[0]}, "render_exts", id="one"),
        pytest.param({"render_exts": POSES[:0], "render_ixts": MATRICES[:0]}, "render_exts", id="none"),
        pytest.param({"render_exts": [[1], [1, 2]], "render_ixts": MATRICES}, "render_exts", id="ragged"),
        pytest.param({"render_hw": (0, 40)}, r"render_hw=\(0, 40\): give \(height, width\)", id="size"),
        pytest.param({"render_hw": (30, 40, 3)}, "render_hw", id="sides"),
    ],
)
def test_wrong_cameras_to_render_from_are_an_error_before_computing(given, message):
    with pytest.raises(InvalidInputError, match=message):
        check_formats("gs_video", GIANT, ExportOptions(**given))
    check_formats("npz", GIANT, ExportOptions(**given))  # does not use them


def test_named_parameters_win_over_entries_as_upstreams_do(caplog):
    options = ExportOptions(
        num_max_points=7,
        export_kwargs={"glb": {"num_max_points": 5, "camera_size": 0.1}, "gs_video": {"vis_depth": None}},
    )
    assert options.of(find_format("glb")) == GlbOptions(num_max_points=7, camera_size=0.1)
    assert "num_max_points of glb is overridden" in caplog.text
    assert options.of(find_format("gs_video")) == GsVideoOptions(vis_depth=VisDepth.NONE, trj_mode=TrjMode.EXTEND)


def test_an_entry_for_another_format_is_checked_too():
    with pytest.raises(InvalidInputError, match="gs_ply has no option 'interval'"):
        check_formats("npz", MONO, ExportOptions(export_kwargs={"gs_ply": {"interval": 2}}))


# Paths of results


def test_result_files_are_the_files_that_are_written(plane_scene_of, tmp_path):
    image = plane_scene_of(1)
    image.aux = {"feat_layer_5": image.depth[..., None].repeat(8, axis=-1)[:, ::14, ::14]}
    formats = "mini_npz-npz-depth_png-depth_vis-tiff-exr-feat_vis-ply-glb-colmap"
    image.sources = ("/photos/a.jpg",)
    for options in (ExportOptions(), ExportOptions(export_kwargs={"colmap": {"text": True}})):
        written = export(image, tmp_path, formats, "a.b ü", options)
        assert result_files(tmp_path, formats, "a.b ü", options) == written
        assert all(path.stat().st_size for path in written)


def test_the_results_of_gaussians_have_names_too(tmp_path):
    assert result_files(tmp_path, "gs_ply-gs_video", "a") == [
        tmp_path / "gs_ply" / "a.ply",
        tmp_path / "gs_video" / "a.mp4",
    ]


def test_every_option_of_the_writers_is_a_keyword_of_depth():
    assert set(ExportKwargs.__annotations__) - {"export_dir", "export_format"} == {
        one.name for one in dataclasses.fields(ExportOptions)
    }
