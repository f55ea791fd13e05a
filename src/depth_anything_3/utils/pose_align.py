"""Kept for clients of upstream: `align_poses_umeyama`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ShapeMismatchError
from depth_anything_3.prediction.pose_alignment import fit_similarity, rigid_inverse
from depth_anything_3.utils.geometry import as_homogeneous

__all__ = ["align_poses_umeyama"]


def align_poses_umeyama(
    ext_ref: npt.ArrayLike,
    ext_est: npt.ArrayLike,
    return_aligned: bool = False,
    ransac: bool = False,
    *,
    random_state: int | None = None,
) -> tuple[Any, ...]:  # Any: a rotation, a translation and a scale; poses if requested
    """Fit the similarity that maps the camera centres of `ext_est` onto those of `ext_ref` (Umeyama).

    One or two views, or centres on a line, raise an error in upstream; here the cameras' orientations decide.

    Args:
        ext_ref, ext_est: (N, 3, 4) or (N, 4, 4) world-to-camera poses, OpenCV axes.
        return_aligned: also return `ext_est` transformed into the frame of `ext_ref`.
        ransac: reject outliers; needs three views.
        random_state: seed of RANSAC.

    Returns:
        Rotation (3, 3), translation (3,) and scale, with `centre_ref ~ scale * rotation @ centre_est + translation`.
        With `return_aligned` also (N, 4, 4) world-to-camera poses; float64, or float32 after RANSAC.

    Raises:
        ShapeMismatchError: the numbers of poses differ.
    """
    reference, estimate = (as_homogeneous(np.asarray(poses, np.float64)) for poses in (ext_ref, ext_est))
    if reference.shape != estimate.shape:
        raise ShapeMismatchError(
            f"{len(reference)} poses in ext_ref, but {len(estimate)} in ext_est; give one of each for every view"
        )
    fit = fit_similarity(estimate, reference, ransac=ransac, seed=random_state)
    found = (fit.rotation, fit.translation, fit.scale)
    if not return_aligned:
        return found
    aligned = rigid_inverse(fit.move_poses(rigid_inverse(estimate)))
    return (*found, aligned.astype(np.float32 if ransac else np.float64))
