"""Rotary position embedding: integer (row, column) positions in, rotated queries and keys out.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), in two dimensions: the
first half of a head's channels turns with the row, the second half with the column. Inside a half of
width `d` channel `j` pairs with channel `j + d/2`, and the pair turns by `position * 100^(-2j/d)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["RotaryTable", "apply_rotary", "cross_view_table", "in_view_positions", "rotary_table"]

_BASE = 100.0


class RotaryTable(NamedTuple):
    """Cosine and signed sine for tokens and channels, each `(tokens, head_dim)` float32.

    The sine carries the sign of its channel: minus for the first of a pair, plus for the second.

    Attributes:
        cos: Cosines.
        sin: Sines.
        every: None rotates every token by its own row; a number rotates the first of every so many tokens by the
            only row, and leaves the others.
    """

    cos: Tensor
    sin: Tensor
    every: int | None = None


def in_view_positions(rows: int, cols: int, device: torch.device | None = None) -> Tensor:
    """Positions of a view's tokens among themselves: `(1 + rows*cols, 2)` int64.

    The class or camera token sits at (0, 0), the patch at row `r` and column `c` at (r+1, c+1).
    """
    patches = torch.cartesian_prod(torch.arange(1, rows + 1, device=device), torch.arange(1, cols + 1, device=device))
    return torch.cat([patches.new_zeros(1, 2), patches])


def rotary_table(positions: Tensor, head_dim: int) -> RotaryTable:
    """Cosines and sines for tokens at `positions`.

    They are always float32, also under autocast: bfloat16 angles would be off by up to 0.1 radian.

    Args:
        positions: `(tokens, 2)` integers, (row, column).
        head_dim: Channels of an attention head, a multiple of 4.
    """
    half = head_dim // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=positions.device) / half
    angles = positions.to(torch.float32).unsqueeze(-1) * _BASE**-exponents  # (tokens, 2, half/2)
    cos, sin = angles.cos(), angles.sin()
    return RotaryTable(
        cos=torch.stack([cos, cos], dim=-2).flatten(-3),
        sin=torch.stack([-sin, sin], dim=-2).flatten(-3),
    )


def cross_view_table(rows: int, cols: int, head_dim: int, device: torch.device | None = None) -> RotaryTable:
    """The rotation of tokens among all views, for views of `rows` by `cols` patches.

    There every patch of every view shares the position (1, 1), and the camera tokens have (0, 0). Attention depends
    on differences of positions alone, so it is the same to leave the patches and turn the few camera tokens back.
    """
    back = rotary_table(torch.full((1, 2), -1, device=device), head_dim)
    return back._replace(every=1 + rows * cols)


def apply_rotary(x: Tensor, table: RotaryTable) -> Tensor:
    """Rotate queries or keys `(..., tokens, head_dim)` by the table of their tokens; same shape out.

    Low-precision input gives float32 output where all tokens are rotated, as the table is float32. Where only some
    are, they are rotated in place.
    """
    if table.every is not None:
        first = torch.unflatten(x, -2, (-1, table.every))[..., 0, :]
        first.copy_(_rotated(first, table))
        return x
    return _rotated(x, table)


def _rotated(x: Tensor, table: RotaryTable) -> Tensor:
    partners = torch.unflatten(x, -1, (2, 2, -1)).flip(-2).flatten(-3)
    return torch.addcmul(x * table.cos, partners, table.sin)
