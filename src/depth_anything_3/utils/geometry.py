"""Kept for clients of upstream: rigid inverses, homogeneous poses, and points of depth maps."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.model.geometry import rigid_inverse

__all__ = ["affine_inverse", "affine_inverse_np", "as_homogeneous", "unproject_depth"]

Poses = TypeVar("Poses", Tensor, np.ndarray[Any, Any])


def affine_inverse(A: Poses) -> Poses:
    """Invert rigid poses: `[R | t]` becomes `[R^T | -R^T t]`.

    Args:
        A: (..., 3, 4) or (..., 4, 4) tensor or array.

    Returns:
        The same shape and type; the last row of 4x4 poses is unchanged.
    """
    if isinstance(A, Tensor):
        return rigid_inverse(A)
    return rigid_inverse(torch.from_numpy(np.ascontiguousarray(A))).numpy()


def affine_inverse_np(A: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Invert rigid poses in an array; see `affine_inverse`."""
    return affine_inverse(A)


def as_homogeneous(ext: Poses) -> Poses:
    """Append the row (0, 0, 0, 1) to poses that lack it.

    Args:
        ext: (..., 3, 4) or (..., 4, 4) tensor or array.

    Returns:
        (..., 4, 4) of the same type; 4x4 poses are returned as they are.

    Raises:
        InvalidInputError: the shape is another one.
    """
    if ext.shape[-2:] == (4, 4):
        return ext
    if ext.shape[-2:] != (3, 4):
        raise InvalidInputError(f"ext has shape {tuple(ext.shape)}; give poses (..., 3, 4) or (..., 4, 4)")
    if isinstance(ext, Tensor):
        row = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=ext.dtype, device=ext.device)
        return torch.cat([ext, row.expand(*ext.shape[:-2], 1, 4)], dim=-2)
    last = np.broadcast_to(np.array([0, 0, 0, 1], ext.dtype), (*ext.shape[:-2], 1, 4))
    return np.concatenate([ext, last], axis=-2)


def unproject_depth(depth: Tensor, ixt: Tensor, c2w: Tensor | None = None) -> Tensor:
    """Compute the points of depth maps: `X = c2w [K^-1 (u, v, 1) depth]`, with integer pixel coordinates (u, v).

    Args:
        depth: (..., H, W, 1) along the optical axis.
        ixt: (..., 3, 3) intrinsics in pixels.
        c2w: (..., 4, 4) or (..., 3, 4) camera-to-world poses; None: points in camera coordinates.

    Returns:
        (..., H, W, 3).

    Raises:
        InvalidInputError: `depth` lacks its last axis of length 1.
    """
    if depth.ndim < 3 or depth.shape[-1] != 1:
        raise InvalidInputError(f"depth has shape {tuple(depth.shape)}; give (..., height, width, 1)")
    height, width = depth.shape[-3:-1]
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=ixt.dtype, device=ixt.device),
        torch.arange(width, dtype=ixt.dtype, device=ixt.device),
        indexing="ij",
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    points: Tensor = pixels @ torch.linalg.inv(ixt).mT.unsqueeze(-3) * depth
    if c2w is None:
        return points
    return points @ c2w[..., None, :3, :3].mT + c2w[..., None, None, :3, 3]
