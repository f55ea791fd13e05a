"""Rotations, quaternions and rigid poses, on the last axes of batched tensors.

Quaternions are ordered (x, y, z, w). Cameras use the OpenCV frame: x right, y down, z forward.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["matrix_to_quaternion", "quaternion_product", "quaternion_to_matrix", "rigid_inverse"]


def rigid_inverse(pose: Tensor) -> Tensor:
    """Invert rigid motions: `[R | t]` becomes `[R^T | -R^T t]`.

    Args:
        pose: `(..., 3, 4)` or `(..., 4, 4)`.

    Returns:
        The same shape; the last row of 4x4 poses is unchanged.
    """
    rotation = pose[..., :3, :3].transpose(-1, -2)
    # Sums of products instead of a matrix product, which a caller may have set to low precision.
    translation = -(rotation * pose[..., None, :3, 3]).sum(dim=-1, keepdim=True)
    inverse = torch.cat([rotation, translation], dim=-1)
    return inverse if pose.shape[-2] == 3 else torch.cat([inverse, pose[..., 3:, :]], dim=-2)


def quaternion_product(first: Tensor, second: Tensor) -> Tensor:
    """Multiply quaternions `(..., 4)`: the rotation `second`, then `first`. Their lengths multiply."""
    (x1, y1, z1, w1), (x2, y2, z2, w2) = first.unbind(-1), second.unbind(-1)
    return torch.stack(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ],
        dim=-1,
    )


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Convert quaternions `(..., 4)` of any nonzero length to rotation matrices `(..., 3, 3)`."""
    x, y, z, w = quaternion.unbind(-1)
    s = 2.0 / (quaternion * quaternion).sum(dim=-1)
    rows = (
        (1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        (s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)),
        (s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Convert rotation matrices `(..., 3, 3)` to unit quaternions `(..., 4)` with w >= 0.

    Of the four equivalent formulas, the one that divides by the largest component is used (the first on ties).
    """
    m = [[matrix[..., row, col] for col in range(3)] for row in range(3)]
    squares = torch.stack(
        [
            1 + m[0][0] + m[1][1] + m[2][2],
            1 + m[0][0] - m[1][1] - m[2][2],
            1 - m[0][0] + m[1][1] - m[2][2],
            1 - m[0][0] - m[1][1] + m[2][2],
        ],
        dim=-1,
    ).clamp_min(0)
    w_sq, x_sq, y_sq, z_sq = squares.unbind(-1)
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1]
    # Candidate k, ordered (x, y, z, w), is the quaternion times twice its component k of (w, x, y, z).
    candidates = torch.stack(
        [
            torch.stack([wx, wy, wz, w_sq], dim=-1),
            torch.stack([x_sq, xy, xz, wx], dim=-1),
            torch.stack([xy, y_sq, yz, wy], dim=-1),
            torch.stack([xz, yz, z_sq, wz], dim=-1),
        ],
        dim=-2,
    )
    sizes = squares.sqrt()
    largest = sizes.argmax(dim=-1, keepdim=True)
    # The largest component is at least half of the norm; the minimum only matters for matrices that are not rotations.
    divisor = 2 * sizes.gather(-1, largest).clamp_min(0.1)
    chosen = candidates.gather(-2, largest.unsqueeze(-1).expand(*largest.shape, 4)).squeeze(-2) / divisor
    return torch.where(chosen[..., 3:] < 0, -chosen, chosen)
