"""COLMAP's camera models: the parameters of one in, a pinhole's four numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CAMERA_MODELS", "CameraModel"]


@dataclass(frozen=True)
class CameraModel:
    """How a camera model lays out its parameters: focal lengths, principal point, distortion.

    Attributes:
        name: as COLMAP spells it.
        focals: 1 where both directions share a focal length, else 2; 0 is no model with a focal length.
        parameters: how many there are in all.
        straight: whether the model is a pinhole's where its distortion is zero.
    """

    name: str
    focals: int
    parameters: int
    straight: bool = True

    def pinhole(self, parameters: Sequence[float]) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        fx, fy = parameters[0], parameters[self.focals - 1]
        return fx, fy, parameters[self.focals], parameters[self.focals + 1]

    def is_distorted(self, parameters: Sequence[float]) -> bool:
        """Whether a pinhole is not the same camera."""
        return not self.straight or any(parameters[self.focals + 2 :])


CAMERA_MODELS = (  # a model's place is its number in binary files
    CameraModel("SIMPLE_PINHOLE", 1, 3),
    CameraModel("PINHOLE", 2, 4),
    CameraModel("SIMPLE_RADIAL", 1, 4),
    CameraModel("RADIAL", 1, 5),
    CameraModel("OPENCV", 2, 8),
    CameraModel("OPENCV_FISHEYE", 2, 8, straight=False),
    CameraModel("FULL_OPENCV", 2, 12),
    CameraModel("FOV", 2, 5),
    CameraModel("SIMPLE_RADIAL_FISHEYE", 1, 4, straight=False),
    CameraModel("RADIAL_FISHEYE", 1, 5, straight=False),
    CameraModel("THIN_PRISM_FISHEYE", 2, 12, straight=False),
    CameraModel("RAD_TAN_THIN_PRISM_FISHEYE", 2, 16, straight=False),
    CameraModel("SIMPLE_DIVISION", 1, 4),
    CameraModel("DIVISION", 2, 5),
    CameraModel("SIMPLE_FISHEYE", 1, 3, straight=False),
    CameraModel("FISHEYE", 2, 4, straight=False),
    CameraModel("EUCM", 2, 6, straight=False),
    CameraModel("EQUIRECTANGULAR", 0, 2, straight=False),
)
