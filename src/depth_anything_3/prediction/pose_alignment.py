"""Normalise given camera poses, and align predictions to them.

All poses are world-to-camera (w2c) in OpenCV axes. The similarity fit is Umeyama's (IEEE TPAMI 13(4), 1991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Similarity", "align_poses", "fit_points", "fit_similarity", "normalize_extrinsics", "rigid_inverse"]

FloatArray = npt.NDArray[np.floating]

_RANSAC_FROM = 10  # views
_RANSAC_MIN = 3  # views in a sample
_RANSAC_ROUNDS = 10
_RANSAC_SEED = 42
_MIN_SPREAD = 0.1
_COLLINEAR = 1e-6


@dataclass(frozen=True, eq=False)
class Similarity:
    """The transform `x -> scale * rotation @ x + translation`, in float64."""

    rotation: FloatArray
    translation: FloatArray
    scale: float

    def move_poses(self, camera_to_world: FloatArray) -> FloatArray:
        """Transform camera-to-world poses (N, 4, 4); the rotations stay free of scale."""
        moved = np.array(camera_to_world, np.float64)
        moved[:, :3, :3] = self.rotation @ moved[:, :3, :3]
        moved[:, :3, 3] = self.move_points(moved[:, :3, 3])
        return moved

    def move_points(self, points: FloatArray) -> FloatArray:
        """Transform points (N, 3)."""
        moved: FloatArray = self.scale * points @ self.rotation.T + self.translation
        return moved


def rigid_inverse(poses: FloatArray) -> FloatArray:
    """Invert (N, 4, 4) rigid poses: `[R | t]` becomes `[R^T | -R^T t]`."""
    inverse = np.array(poses, copy=True)
    rotation = np.swapaxes(poses[:, :3, :3], 1, 2)
    inverse[:, :3, :3] = rotation
    inverse[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, poses[:, :3, 3])
    return inverse


def normalize_extrinsics(extrinsics: FloatArray) -> npt.NDArray[np.float32]:
    """Normalise poses for the network: view 0 at the origin, and a typical camera distance of 1.

    The distance is the lower median of the norms of all camera centres (including view 0's zero), at least 0.1, so
    one or two views are always scaled by 10.

    Args:
        extrinsics: (N, 4, 4) w2c.

    Returns:
        (N, 4, 4) float32 w2c.
    """
    poses = np.asarray(extrinsics, np.float64)
    poses = poses @ rigid_inverse(poses[:1])
    distances = np.sort(np.linalg.norm(rigid_inverse(poses)[:, :3, 3], axis=1))
    poses[:, :3, 3] /= max(distances[(len(distances) - 1) // 2], _MIN_SPREAD)
    return poses.astype(np.float32)


def fit_similarity(
    given_w2c: FloatArray, predicted_w2c: FloatArray, *, ransac: bool | None = None, seed: int | None = _RANSAC_SEED
) -> Similarity:
    """Fit the similarity that maps the given camera centres onto the predicted ones.

    With ten or more views, RANSAC rejects outliers. If the centres do not determine a rotation
    (one or two views, or all on a line), the rotation comes from the cameras' orientations, and the scale from the
    spread of the centres; without a spread (one view, or a camera that only rotates) the scale is 1.

    Args:
        given_w2c, predicted_w2c: (N, 4, 4).
        ransac: whether to use RANSAC; None: with ten or more views. It needs three.
        seed: of RANSAC; None: a different one in each call.
    """
    given = rigid_inverse(np.asarray(given_w2c, np.float64))
    predicted = rigid_inverse(np.asarray(predicted_w2c, np.float64))
    # Relative to the first centre, with rounding removed, which would become the scale of a camera that only rotates.
    origin = given[0, :3, 3].copy()
    centres = given[:, :3, 3] - origin
    centres[np.abs(centres) <= _rounding(given_w2c)] = 0.0
    given[:, :3, 3] = centres
    fit = fit_points(centres, predicted[:, :3, 3]) or _fit_by_orientation(given, predicted)
    if len(given) >= (_RANSAC_FROM if ransac is None else _RANSAC_MIN) and ransac is not False:
        fit = _ransac(centres, predicted[:, :3, 3], fit, np.random.default_rng(seed))
    return Similarity(fit.rotation, fit.translation - fit.scale * fit.rotation @ origin, fit.scale)


def _rounding(poses: FloatArray) -> float:
    """Bound the rounding error of camera centres, by the precision (float32 or float64) that the poses need."""
    stored = np.float32 if np.array_equal(poses, np.asarray(poses, np.float32)) else np.float64
    return float(8 * np.finfo(stored).eps * np.abs(np.asarray(poses)[:, :3, 3]).max())


def fit_points(
    source: FloatArray, target: FloatArray, weights: FloatArray | None = None, *, symmetric: bool = False
) -> Similarity | None:
    """Fit a least-squares similarity from (N, 3) to (N, 3) points; None if they do not determine the rotation.

    Args:
        source, target: the same points in both frames.
        weights: (N) weight of each point; None weights all equally.
        symmetric: scale by the ratio of the spreads, for noise in both; least squares counts noise of the source as
            spread, which shrinks the result.
    """
    share = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    source_mean, target_mean = share @ source, share @ target
    from_mean = source - source_mean
    u, d, vt = np.linalg.svd((share[:, None] * (target - target_mean)).T @ from_mean)
    if d[1] <= _COLLINEAR * d[0]:
        return None
    sign = np.array([1.0, 1.0, -1.0 if np.linalg.det(u) * np.linalg.det(vt) < 0 else 1.0])
    rotation = (u * sign) @ vt
    spread = share @ np.square(from_mean).sum(axis=1)
    if symmetric:
        scale = float(np.sqrt(share @ np.square(target - target_mean).sum(axis=1) / spread))
    else:
        scale = float((d * sign).sum() / spread)
    return Similarity(rotation, target_mean - scale * rotation @ source_mean, scale)


def _fit_by_orientation(source: FloatArray, target: FloatArray) -> Similarity:
    u, _, vt = np.linalg.svd((target[:, :3, :3] @ np.swapaxes(source[:, :3, :3], 1, 2)).sum(axis=0))
    rotation = (u * [1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    source_centres, target_centres = source[:, :3, 3], target[:, :3, 3]
    source_spread, target_spread = _spread(source_centres), _spread(target_centres)
    scale = target_spread / source_spread if source_spread > 0 and target_spread > 0 else 1.0
    translation = target_centres.mean(axis=0) - scale * rotation @ source_centres.mean(axis=0)
    return Similarity(rotation, translation, scale)


def _spread(points: FloatArray) -> float:
    """Compute the root mean square distance of (N, 3) points from their mean."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum() / len(points)))


def _ransac(source: FloatArray, target: FloatArray, first: Similarity, rng: np.random.Generator) -> Similarity:
    count = len(source)
    nearest = np.linalg.norm(first.move_points(source)[:, None] - target[None], axis=2).min(axis=1)
    threshold = np.median(nearest)
    size = max(_RANSAC_MIN, (count + 1) // 2)
    best, best_inliers, best_key = first, np.zeros(count, bool), (-1, 0.0)
    for _ in range(_RANSAC_ROUNDS):
        chosen = rng.choice(np.arange(count), size, replace=False)
        model = fit_points(source[chosen], target[chosen])
        if model is None:
            continue
        error = np.linalg.norm(model.move_points(source) - target, axis=1)
        inliers = error <= threshold
        # More inliers win, then the smaller mean error among them.
        key = (int(inliers.sum()), -float(error[inliers].mean()) if inliers.any() else -np.inf)
        if key > best_key:
            best, best_inliers, best_key = model, inliers, key
    if best_inliers.sum() >= 3:
        return fit_points(source[best_inliers], target[best_inliers]) or best
    return best


def align_poses(given_w2c: FloatArray, predicted_w2c: FloatArray, *, to_given: bool) -> tuple[FloatArray, float]:
    """Align given and predicted poses.

    Args:
        given_w2c: (N, 4, 4) poses from the caller.
        predicted_w2c: (N, 3, 4) poses from the network.
        to_given: True returns the given poses (N, 3, 4) and the divisor that converts depth to their unit; False
            returns the given poses (N, 4, 4) transformed into the predicted frame, and 1.

    Returns:
        Extrinsics, and the divisor of depth.
    """
    predicted = np.tile(np.eye(4), (len(predicted_w2c), 1, 1))
    predicted[:, :3] = predicted_w2c
    valid = np.isfinite(predicted).all(axis=(1, 2))  # a pose from rays can be undefined for a view without structure
    given = np.asarray(given_w2c, np.float64)
    identity = Similarity(np.eye(3), np.zeros(3), 1.0)
    similarity = fit_similarity(given[valid], predicted[valid]) if valid.any() else identity
    if to_given:
        return given[:, :3].astype(np.float32), similarity.scale
    return rigid_inverse(similarity.move_poses(rigid_inverse(given))).astype(np.float32), 1.0
