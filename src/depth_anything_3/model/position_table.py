"""Position table: the learned 37x37 grid in, one row per token of the actual patch grid out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TABLE_SIDE", "interpolate_position_table"]

TABLE_SIDE = 37
"""Rows and columns of the learned table: 518 pixels of 14-pixel patches."""


def interpolate_position_table(table: Tensor, rows: int, cols: int) -> Tensor:
    """Resample the learned table to another grid, in float32.

    Bicubic (A = -0.75), half-pixel centres, no antialiasing. As in DINOv2, the sampling step comes from
    the scale factor `(size + 0.1) / 37` and not from the size itself; this shifts every sample slightly
    and the weights were trained with it.

    Args:
        table: `(1, 1 + 37*37, C)`; its first row belongs to the class token and is not interpolated.
        rows: Patches per column of the image.
        cols: Patches per row of the image.

    Returns:
        `(1, 1 + rows*cols, C)` float32.
    """
    table = table.float()
    if rows == cols == TABLE_SIDE:
        return table
    grid = torch.unflatten(table[:, 1:], 1, (TABLE_SIDE, TABLE_SIDE)).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / TABLE_SIDE, (cols + 0.1) / TABLE_SIDE)
    resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
