"""Rotate coefficients of real spherical harmonics up to degree 2.

The basis is that of 3D Gaussian splatting (Kerbl et al., 2023): with `v = (x, y, z)` of length 1, coefficient 0 belongs
to a constant, 1 to 3 to (-y, z, -x), and 4 to 8 to (xy, -yz, 2z^2 - x^2 - y^2, -xz, x^2 - y^2), each normalised so that
its square integrates to 1 over the sphere.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["COEFFICIENTS", "harmonics_rotation"]

COEFFICIENTS = 9

# Degree 1 as vectors: each function is the dot product of the direction and its row.
_LINEAR = ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0))

# Degree 2 as symmetric traceless matrices A: each function is v^T A v. All have the same squared norm, 2.
_H, _T = 1.0, 3**-0.5
_QUADRATIC = (
    ((0.0, _H, 0.0), (_H, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, -_H), (0.0, -_H, 0.0)),
    ((-_T, 0.0, 0.0), (0.0, -_T, 0.0), (0.0, 0.0, 2 * _T)),
    ((0.0, 0.0, -_H), (0.0, 0.0, 0.0), (-_H, 0.0, 0.0)),
    ((_H, 0.0, 0.0), (0.0, -_H, 0.0), (0.0, 0.0, 0.0)),
)
_SQUARED_NORM = 2.0


def harmonics_rotation(rotation: Tensor) -> Tensor:
    """Return the matrix D with `Y(R v) = D Y(v)` for every direction v, where Y are the nine functions.

    Args:
        rotation: `(..., 3, 3)`.

    Returns:
        `(..., 9, 9)`, block diagonal by degree.
    """
    linear, quadratic = (torch.tensor(x, dtype=rotation.dtype, device=rotation.device) for x in (_LINEAR, _QUADRATIC))
    matrix = rotation.new_zeros(*rotation.shape[:-2], COEFFICIENTS, COEFFICIENTS)
    matrix[..., 0, 0] = 1.0
    matrix[..., 1:4, 1:4] = linear @ rotation @ linear.T
    # v^T R^T A_k R v, projected onto the A_l, which are orthogonal to each other.
    turned = rotation.transpose(-1, -2).unsqueeze(-3) @ quadratic @ rotation.unsqueeze(-3)
    matrix[..., 4:, 4:] = torch.einsum("...kij,lij->...kl", turned, quadratic) / _SQUARED_NORM
    return matrix
