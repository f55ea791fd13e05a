"""Hold the cameras and points of a COLMAP sparse model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SparseModel", "SparsePoints", "quaternion_to_rotation", "rotation_to_quaternion"]

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class SparseModel:
    """The images of a sparse model and their cameras.

    Attributes:
        names: (N,) of the images, as in the model: paths below the folder of images, with '/'.
        extrinsics: (N, 4, 4) float64 world-to-camera, OpenCV axes, in the model's unit.
        intrinsics: (N, 3, 3) float64 in pixels of the images; (0, 0) is their corner.
        sizes: (N,) of (height, width) in pixels.
    """

    names: tuple[str, ...]
    extrinsics: npt.NDArray[np.float64]
    intrinsics: npt.NDArray[np.float64]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """Points by image; each point is observed in one image.

    Attributes:
        points: (M, 3) in the world.
        colors: (M, 3) uint8 RGB.
        observations: (M, 2) x and y in pixels of the image.
        counts: (N,) number of points of each image.
    """

    points: npt.NDArray[np.float64]
    colors: npt.NDArray[np.uint8]
    observations: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def rotation_to_quaternion(rotation: FloatArray) -> npt.NDArray[np.float64]:
    """Convert a rotation matrix (3, 3) to a unit quaternion (w, x, y, z), w >= 0.

    The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (J. Guidance 23(6), 2000): the quaternion of the
    nearest rotation if the matrix is not exactly one.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.asarray(rotation, np.float64)
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, zz - xx - yy],
        ]
    )
    quaternion: npt.NDArray[np.float64] = np.linalg.eigh(matrix)[1][:, -1]
    return -quaternion if quaternion[0] < 0 else quaternion


def quaternion_to_rotation(quaternion: FloatArray) -> npt.NDArray[np.float64]:
    """Convert a quaternion (w, x, y, z) of any length above zero to a rotation matrix (3, 3)."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
