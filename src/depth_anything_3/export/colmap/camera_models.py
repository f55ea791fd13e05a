"""Define COLMAP's camera models, and the pinhole camera that each contains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CAMERA_MODELS", "CameraModel"]


@dataclass(frozen=True)
class CameraModel:
    """Layout of a camera model's parameters: focal lengths, principal point, distortion.

    Attributes:
        name: as COLMAP spells it.
        focals: number of focal lengths: 1 for both axes, or 2; 0 if the model has none.
        parameters: number of parameters.
        pinhole_without_distortion: whether the model is a pinhole camera if its distortion is zero.
    """

    name: str
    focals: int
    parameters: int
    pinhole_without_distortion: bool = True

    def pinhole(self, parameters: Sequence[float]) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        fx, fy = parameters[0], parameters[self.focals - 1]
        return fx, fy, parameters[self.focals], parameters[self.focals + 1]

    def is_distorted(self, parameters: Sequence[float]) -> bool:
        """Whether the camera differs from its pinhole camera."""
        return not self.pinhole_without_distortion or any(parameters[self.focals + 2 :])


CAMERA_MODELS = (  # the index is the model's number in binary files
    CameraModel("SIMPLE_PINHOLE", 1, 3),
    CameraModel("PINHOLE", 2, 4),
    CameraModel("SIMPLE_RADIAL", 1, 4),
    CameraModel("RADIAL", 1, 5),
    CameraModel("OPENCV", 2, 8),
    CameraModel("OPENCV_FISHEYE", 2, 8, pinhole_without_distortion=False),
    CameraModel("FULL_OPENCV", 2, 12),
    CameraModel("FOV", 2, 5),
    CameraModel("SIMPLE_RADIAL_FISHEYE", 1, 4, pinhole_without_distortion=False),
    CameraModel("RADIAL_FISHEYE", 1, 5, pinhole_without_distortion=False),
    CameraModel("THIN_PRISM_FISHEYE", 2, 12, pinhole_without_distortion=False),
    CameraModel("RAD_TAN_THIN_PRISM_FISHEYE", 2, 16, pinhole_without_distortion=False),
    CameraModel("SIMPLE_DIVISION", 1, 4),
    CameraModel("DIVISION", 2, 5),
    CameraModel("SIMPLE_FISHEYE", 1, 3, pinhole_without_distortion=False),
    CameraModel("FISHEYE", 2, 4, pinhole_without_distortion=False),
    CameraModel("EUCM", 2, 6, pinhole_without_distortion=False),
    CameraModel("EQUIRECTANGULAR", 0, 2, pinhole_without_distortion=False),
)
