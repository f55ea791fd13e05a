"""Two camera poses in, the poses between them out: round the point that both look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["interpolate_pose"]

FloatArray = npt.NDArray[np.float64]

_PARALLEL = 1e-4


def interpolate_pose(first: FloatArray, second: FloatArray, steps: FloatArray) -> FloatArray:
    """Camera-to-world poses between two, on an arc about the point closest to both lines of sight.

    Each pose is put as where the pivot lies, seen from the camera, and by which angles the camera is turned in the
    plane of the two viewing directions; these numbers are interpolated, the angles along the shorter arc.

    Args:
        first, second: (4, 4).
        steps: (F) shares of the way, 0 to 1.

    Returns:
        (F, 4, 4) float64.
    """
    ends = np.stack([first, second]).astype(np.float64)
    directions, centres = ends[:, :3, 2], ends[:, :3, 3]
    normal = _normal(directions)
    frame = np.stack([np.cross(normal, directions[0]), normal, directions[0]], axis=1)
    pivot = _pivot(directions, centres)
    offsets = np.stack(
        [_plane_axes(normal, z).T @ (pivot - centre) for z, centre in zip(directions, centres, strict=True)]
    )
    angles = np.stack([_yaw_and_roll(frame.T @ pose[:3, :3]) for pose in ends])
    turn = (angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi
    poses = np.tile(np.eye(4), (len(steps), 1, 1))
    for pose, step in zip(poses, steps, strict=True):
        pose[:3, :3] = frame @ _from_yaw_and_roll(*(angles[0] + step * turn))
        offset = (1 - step) * offsets[0] + step * offsets[1]
        pose[:3, 3] = pivot - _plane_axes(normal, pose[:3, 2]) @ offset
    return poses


def _is_parallel(a: FloatArray, b: FloatArray) -> bool:
    return bool(abs(abs(a @ b) - 1) < _PARALLEL)


def _normal(directions: FloatArray) -> FloatArray:
    """Unit normal of the plane of two directions; where they are parallel, of the first and an axis of the world."""
    a, b = directions
    for other in (b, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])):
        if not _is_parallel(a, other):
            break
    normal: FloatArray = np.cross(a, other)
    normal /= np.linalg.norm(normal)
    return normal


def _pivot(directions: FloatArray, centres: FloatArray) -> FloatArray:
    """The point closest to both lines of sight; halfway between the cameras, where they look along each other."""
    if _is_parallel(*directions):
        return np.asarray(centres.mean(axis=0))
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    pivot: FloatArray = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, centres))
    return pivot


def _plane_axes(normal: FloatArray, z: FloatArray) -> FloatArray:
    return np.stack([np.cross(normal, z), normal, z], axis=1)


def _yaw_and_roll(rotation: FloatArray) -> FloatArray:
    """The first and last of the intrinsic Y-X-Z Euler angles."""
    return np.array([np.arctan2(rotation[0, 2], rotation[2, 2]), np.arctan2(rotation[1, 0], rotation[1, 1])])


def _from_yaw_and_roll(yaw: float, roll: float) -> FloatArray:
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    rotation: FloatArray = about_y @ about_z
    return rotation
