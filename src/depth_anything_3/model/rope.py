"""Rotary position embedding in two dimensions.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021). The first half of a head's channels
rotates with the row, the second half with the column. Within a half of width `d`, channel `j` is paired with channel
`j + d/2`, and the pair rotates by the angle `position * 100^(-2j/d)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from depth_anything_3.model.tracing import is_recording

__all__ = ["RotaryTable", "apply_rotary", "cross_view_table", "in_view_positions", "rotary_table"]

_BASE = 100.0


class RotaryTable(NamedTuple):
    """Cosine and signed sine for tokens and channels, each `(tokens, head_dim)` float32.

    The sine has the sign of its channel: negative for the first of a pair, positive for the second.

    Attributes:
        cos: Cosines.
        sin: Sines.
        every: None rotates every token by its own row. A number n rotates only every n-th token, by the single row of
            the table, starting with the first.
    """

    cos: Tensor
    sin: Tensor
    every: int | None = None


def in_view_positions(rows: int, cols: int, device: torch.device | None = None) -> Tensor:
    """Return the positions of a view's tokens: `(1 + rows*cols, 2)` int64.

    The class or camera token is at (0, 0), the patch in row `r` and column `c` at (r+1, c+1).
    """
    row = torch.arange(1, rows + 1, device=device).view(-1, 1).expand(rows, cols)
    col = torch.arange(1, cols + 1, device=device).expand(rows, cols)
    patches = torch.stack([row, col], dim=-1).view(-1, 2)  # the exporter of torch.jit has no cartesian_prod
    return torch.cat([patches.new_zeros(1, 2), patches])


def rotary_table(positions: Tensor, head_dim: int) -> RotaryTable:
    """Compute cosines and sines for tokens at `positions`.

    They are float32 even under autocast: bfloat16 angles would be off by up to 0.1 radians.

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
    """Return the table for attention across views of `rows` by `cols` patches.

    There all patches have the position (1, 1), and the camera tokens (0, 0). Attention depends only on differences of
    positions, so it is equivalent to leave the patches unrotated and to rotate the few camera tokens backwards.
    """
    back = rotary_table(torch.full((1, 2), -1, device=device), head_dim)
    return back._replace(every=1 + rows * cols)


def apply_rotary(x: Tensor, table: RotaryTable) -> Tensor:
    """Rotate queries or keys `(..., tokens, head_dim)`; returns the same shape.

    If all tokens are rotated, low-precision input gives float32 output, like the table. If only some are, they are
    rotated in place.
    """
    if table.every is not None:
        views = torch.unflatten(x, -2, (-1, table.every))
        first = views[..., 0, :]
        if is_recording():  # the ONNX exporter of torch.jit silently drops a copy into a view
            rotated = _rotated(first, table).to(x.dtype).unsqueeze(-2)
            return torch.cat([rotated, views[..., 1:, :]], dim=-2).flatten(-3, -2)
        first.copy_(_rotated(first, table))
        return x
    return _rotated(x, table)


def _rotated(x: Tensor, table: RotaryTable) -> Tensor:
    partners = torch.unflatten(x, -1, (2, 2, -1)).flip(-2).flatten(-3)
    return torch.addcmul(x * table.cos, partners, table.sin)
