"""Make point clouds from the confident pixels of a prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.prediction import Prediction

__all__ = ["PointCloud", "confidence_threshold", "gather_points", "homogeneous", "inverse", "unproject"]

FloatArray = npt.NDArray[np.floating]

_MIN_CONFIDENCE = 1.05
_MAX_PERCENTILE = 90.0
_SEED = 0


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in the world frame of the extrinsics, by view and row.

    Attributes:
        points: (M, 3) float64, in the unit of depth.
        colors: (M, 3) uint8 RGB; None without images.
        pixels: (M, 2) int64, column and row of each point's pixel.
        counts: (N,) int64, number of points of each view.
    """

    points: npt.NDArray[np.float64]
    colors: npt.NDArray[np.uint8] | None
    pixels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def confidence_threshold(
    conf: FloatArray,
    percentile: float,
    *,
    minimum: float = _MIN_CONFIDENCE,
    max_percentile: float = _MAX_PERCENTILE,
) -> float:
    """Compute the confidence that a point must have: a percentile, within a lower and an upper bound.

    Args:
        conf: of any shape; values that are not finite are ignored.
        percentile: 0 to 100.
        minimum: lower bound of the threshold.
        max_percentile: upper bound of the threshold as a percentile, 0 to 100; overrides `minimum`.
    """
    finite = conf[np.isfinite(conf)]
    if not finite.size:
        return minimum
    low, high = np.percentile(finite, (percentile, max_percentile), overwrite_input=True)
    return float(min(max(minimum, low), high))


def homogeneous(extrinsics: FloatArray) -> npt.NDArray[np.float64]:
    """Convert (N, 3, 4) or (N, 4, 4) poses to (N, 4, 4) float64."""
    poses = np.tile(np.eye(4), (len(extrinsics), 1, 1))
    poses[:, :3] = extrinsics[:, :3]
    return poses


def inverse(matrices: FloatArray) -> npt.NDArray[np.float64]:
    """Invert camera matrices (..., n, n).

    Raises:
        InvalidInputError: a matrix is singular.
    """
    try:
        return np.asarray(np.linalg.inv(np.asarray(matrices, np.float64)), np.float64)
    except np.linalg.LinAlgError:
        hint = "give a focal length above 0"
        raise InvalidInputError(f"a camera's intrinsics or extrinsics have no inverse; {hint}") from None


def unproject(
    pixels: FloatArray | npt.NDArray[np.int64], depth: FloatArray, intrinsics: FloatArray, world_to_camera: FloatArray
) -> npt.NDArray[np.float64]:
    """Compute the world points of pixels: `X = w2c^-1 [K^-1 (u, v, 1) depth]`.

    As in upstream, (u, v) are the coordinates of a pixel's corner nearest the image's origin, not of its centre.

    Args:
        pixels: (M, 2) column and row.
        depth: (M,) along the optical axis.
        intrinsics: (3, 3).
        world_to_camera: (4, 4).

    Returns:
        (M, 3) float64.

    Raises:
        InvalidInputError: a matrix has no inverse.
    """
    to_ray, to_world = inverse(intrinsics), inverse(world_to_camera)
    rays = pixels @ to_ray[:, :2].T + to_ray[:, 2]
    rays *= np.asarray(depth, np.float64)[:, None]
    world: npt.NDArray[np.float64] = rays @ to_world[:3, :3].T + to_world[:3, 3]
    return world


def gather_points(
    prediction: Prediction, conf: FloatArray | None, threshold: float, max_points: int | None, seed: int = _SEED
) -> PointCloud:
    """Unproject the pixels whose depth is finite and above 0, that are not sky, and that are confident.

    Needs memory for one view and for the points. If there are more than `max_points`, it also needs memory for the
    indices of all candidates: at worst (fewer than 50 times `max_points`) 400 bytes per point.

    Args:
        prediction: with intrinsics; without extrinsics the camera is the world frame. Views whose camera is not
            finite give no points.
        conf: (N, H, W) confidence; None: all pixels are confident.
        threshold: minimum confidence.
        max_points: maximum number of points, a uniform random subset; None: no maximum.
        seed: of the random choice.
    """
    assert prediction.intrinsics is not None
    intrinsics, views = prediction.intrinsics, len(prediction.depth)
    cameras = np.tile(np.eye(4), (views, 1, 1)) if prediction.extrinsics is None else homogeneous(prediction.extrinsics)
    known = np.asarray(np.isfinite(cameras).all(axis=(1, 2)) & np.isfinite(intrinsics).all(axis=(1, 2)))

    def candidates(view: int) -> npt.NDArray[np.int64]:
        depth = prediction.depth[view]
        selected: npt.NDArray[np.bool_] = np.isfinite(depth) & (depth > 0) & known[view]
        if conf is not None:
            selected &= conf[view] >= threshold
        if prediction.sky is not None:
            selected &= ~prediction.sky[view]
        return np.flatnonzero(selected)

    ends = np.cumsum([len(candidates(view)) for view in range(views)])
    chosen = None
    if max_points is not None and ends[-1] > max_points:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(int(ends[-1]), max_points, replace=False, shuffle=False))
    width = prediction.depth.shape[2]
    pixels, points, colors = [], [], []
    for view in range(views):
        at = candidates(view)
        if chosen is not None:
            start = ends[view] - len(at)
            first, last = np.searchsorted(chosen, (start, ends[view]))
            at = at[chosen[first:last] - start]
        pixels.append(np.stack([at % width, at // width], axis=1))
        if not len(at):
            continue  # its camera may be missing
        points.append(unproject(pixels[-1], prediction.depth[view].reshape(-1)[at], intrinsics[view], cameras[view]))
        if prediction.processed_images is not None:
            colors.append(prediction.processed_images[view].reshape(-1, 3)[at])
    return PointCloud(
        np.concatenate(points) if points else np.empty((0, 3)),
        None if prediction.processed_images is None else np.concatenate(colors or [np.empty((0, 3), np.uint8)]),
        np.concatenate(pixels),
        np.array([len(one) for one in pixels], np.int64),
    )
