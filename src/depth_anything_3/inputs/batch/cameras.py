"""Validate the camera matrices that a caller passes with the views of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError

__all__ = ["FloatArray", "parse_extrinsics", "parse_intrinsics"]

_MIN_DETERMINANT = 1e-6  # 1 for a rotation; the product of the focal lengths for intrinsics

FloatArray = npt.NDArray[np.floating]


def parse_extrinsics(matrices: Any, count: int) -> FloatArray | None:  # Any: whatever numpy converts to an array
    """Return world-to-camera matrices (count, 4, 4), or None; integers become float64.

    Raises:
        InvalidInputError: the values are not numbers of that shape, or a matrix is not finite or not invertible.
        ShapeMismatchError: the number of matrices differs from the number of images.
    """
    return _parse(matrices, "extrinsics", (4, 4), count)


def parse_intrinsics(matrices: Any, count: int) -> FloatArray | None:  # Any: whatever numpy converts to an array
    """Return camera matrices (count, 3, 3) in pixels, or None. Conversion and errors as in `parse_extrinsics`."""
    return _parse(matrices, "intrinsics", (3, 3), count)


def _parse(matrices: Any, name: str, shape: tuple[int, int], count: int) -> FloatArray | None:
    if matrices is None:
        return None
    if isinstance(matrices, torch.Tensor):
        matrices = matrices.detach().cpu()
    try:
        array = np.asarray(matrices)
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}: not an array of numbers of shape (N, {shape[0]}, {shape[1]})") from None
    if array.shape[1:] != shape:
        raise InvalidInputError(f"{name}: the shape must be (N, {shape[0]}, {shape[1]}), not {array.shape}")
    if len(array) != count:
        raise ShapeMismatchError(f"{name}: {len(array)} matrices for {count} images; give one per image")
    for index, matrix in enumerate(array):
        if not np.isfinite(matrix).all():
            raise InvalidInputError(f"{name} of image {index}: contains NaN or infinity")
        if abs(np.linalg.det(matrix[:3, :3])) < _MIN_DETERMINANT:
            raise InvalidInputError(f"{name} of image {index}: is singular, so it is not a camera matrix")
    return array
