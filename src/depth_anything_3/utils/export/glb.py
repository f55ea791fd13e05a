"""Kept for clients of upstream: `export_to_glb`, and helpers that they import although their names are private."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.formats.glb import add_pyramids, alignment, camera_pyramid, scene_size
from depth_anything_3.export.point_cloud import confidence_threshold, gather_points, homogeneous
from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.write_format import write_format

__all__ = ["export_to_glb", "get_conf_thresh"]

FloatArray = npt.NDArray[np.floating]
UInt8Array = npt.NDArray[np.uint8]

_SEED = 0


def export_to_glb(
    prediction: Prediction,
    export_dir: str | os.PathLike[str],
    num_max_points: int | None = 1_000_000,
    **options: float | bool,
) -> str:
    """Write `scene.glb`, and by default `depth_vis` and `scene.jpg`; see `export.formats.glb`.

    Args:
        prediction: with images, poses and intrinsics.
        export_dir: folder; created if missing.
        num_max_points: maximum number of points.
        options: the other ones of `export.formats.glb.GlbOptions`.

    Returns:
        Path of `scene.glb`.

    Raises:
        InvalidInputError: an option is unknown or not accepted.
        UnsupportedError: the prediction lacks a field.
        ExportError: a file cannot be written.
    """
    options.pop("sky_depth_def", None)  # without effect: a prediction has no `sky_mask`
    given = options if num_max_points is None else {"num_max_points": num_max_points, **options}
    return str(write_format(prediction, "glb", export_dir, given)[0])


def get_conf_thresh(
    prediction: Prediction,
    sky_mask: None,
    conf_thresh: float,
    conf_thresh_percentile: float,
    ensure_thresh_percentile: float = 90.0,
) -> float:
    """Compute the confidence that a point of `glb` must have: a percentile, within two bounds.

    Args:
        prediction: with confidence.
        sky_mask: None, as in upstream's own calls.
        conf_thresh: lower bound.
        conf_thresh_percentile: the percentile, 0 to 100.
        ensure_thresh_percentile: upper bound, as a percentile.

    Raises:
        InvalidInputError: the prediction has no confidence.
        UnsupportedError: a sky mask is given.
    """
    if sky_mask is not None:
        raise UnsupportedError("get_conf_thresh: sky_mask is not supported; pass None")
    if prediction.conf is None:
        raise InvalidInputError("get_conf_thresh: the prediction has no confidence (conf)")
    return confidence_threshold(
        prediction.conf, conf_thresh_percentile, minimum=conf_thresh, max_percentile=ensure_thresh_percentile
    )


def _as_homogeneous44(ext: FloatArray) -> FloatArray:
    """Append the row (0, 0, 0, 1) to one pose (3, 4); a pose (4, 4) is returned as it is."""
    if ext.shape not in ((3, 4), (4, 4)):
        raise InvalidInputError(f"ext has shape {ext.shape}; give one pose, (3, 4) or (4, 4)")
    return ext if len(ext) == 4 else homogeneous(ext[None])[0].astype(ext.dtype)


def _depths_to_world_points_with_colors(
    depth: npt.NDArray[np.float32],
    K: FloatArray,
    ext_w2c: FloatArray,
    images_u8: UInt8Array,
    conf: npt.NDArray[np.float32] | None,
    conf_thr: float,
) -> tuple[npt.NDArray[np.float32], UInt8Array]:
    """Compute the points (M, 3) in the world, and their colours, of pixels with positive depth and this confidence.

    Args:
        depth: (N, H, W).
        K: (N, 3, 3) intrinsics in pixels.
        ext_w2c: (N, 3, 4) or (N, 4, 4) world-to-camera poses.
        images_u8: (N, H, W, 3).
        conf: (N, H, W) confidence; None: all pixels are confident.
        conf_thr: minimum confidence.
    """
    views = Prediction(depth=depth, intrinsics=K, extrinsics=ext_w2c, processed_images=images_u8)
    cloud = gather_points(views, conf, conf_thr, max_points=None)
    assert cloud.colors is not None
    return cloud.points.astype(np.float32), cloud.colors


def _filter_and_downsample(
    points: FloatArray, colors: UInt8Array, num_max: int | None, seed: int = _SEED
) -> tuple[FloatArray, UInt8Array]:
    """Drop points (M, 3) that are not finite, and choose at most `num_max` at random, with a fixed seed."""
    at = np.flatnonzero(np.isfinite(points).all(axis=1))
    if num_max is not None and len(at) > num_max:
        at = np.sort(np.random.default_rng(seed).choice(at, num_max, replace=False))
    return points[at], colors[at]


def _compute_alignment_transform_first_cam_glTF_center_by_points(
    w2c0: FloatArray, points_world: FloatArray
) -> npt.NDArray[np.float64]:
    """Compute the transform (4, 4) of world points to the file: see `export.formats.glb.alignment`."""
    return alignment(points_world, _as_homogeneous44(w2c0))


def _estimate_scene_scale(points: FloatArray, fallback: float = 1.0) -> float:
    """Compute the size of a scene: see `export.formats.glb.scene_size`."""
    return scene_size(points, fallback)


def _add_cameras_to_scene(
    scene: Any,  # Any: a trimesh.Scene
    K: FloatArray,
    ext_w2c: FloatArray,
    image_sizes: Sequence[tuple[int, int]],
    scale: float,
) -> None:
    """Add the pyramids of the cameras to a scene, transformed by `hf_alignment` of its metadata.

    Args:
        scene: the scene.
        K: (N, 3, 3) intrinsics in pixels.
        ext_w2c: (N, 3, 4) or (N, 4, 4) world-to-camera poses.
        image_sizes: (height, width) of each view.
        scale: depth of the pyramids.
    """
    to_file = np.asarray((scene.metadata or {}).get("hf_alignment", np.eye(4)), np.float64)
    pyramids = {}
    for view, (matrix, pose, size) in enumerate(zip(K, homogeneous(ext_w2c), image_sizes, strict=True)):
        edges = camera_pyramid(matrix, pose, size, scale)
        pyramids[view] = edges @ to_file[:3, :3].T + to_file[:3, 3]
    add_pyramids(scene, pyramids, len(pyramids))
