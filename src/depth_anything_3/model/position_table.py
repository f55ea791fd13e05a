"""Position table: the learned 37x37 grid in, one row per token of the actual patch grid out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_anything_3.model.table_cache import TableCache

__all__ = ["TABLE_SIDE", "PositionTables", "interpolate_position_table"]

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


class _TablesOf(NamedTuple):
    """The tables made of one state of the learned table.

    Attributes:
        source: the learned table. It keeps the memory in use, so that nothing else can come to lie at its address.
        version: how often it had been written to.
        kept: the tables.
    """

    source: Tensor
    version: int
    kept: TableCache[Tensor]

    def serve(self, table: Tensor) -> bool:
        """Whether they are tables of `table` as it is now."""
        source = self.source
        same = (source.device, source.dtype, source.data_ptr()) == (table.device, table.dtype, table.data_ptr())
        return same and self.version == table._version


class PositionTables:
    """Interpolated tables, kept until the learned table changes.

    A change is a new tensor, another device or dtype, or a write in place that torch counts: `load_state_dict`,
    `to`, an optimiser's step. Writes through `.data` are not counted. A copy starts empty.
    """

    def __init__(self) -> None:
        self._tables: _TablesOf | None = None

    def __call__(self, table: Tensor, rows: int, cols: int) -> Tensor:
        """As :func:`interpolate_position_table`."""
        wants_gradient = table.requires_grad and torch.is_grad_enabled()
        if torch.compiler.is_compiling() or table.is_inference() or wants_gradient:
            return interpolate_position_table(table, rows, cols)
        tables = self._tables
        if tables is None or not tables.serve(table):
            # Replaced as a whole: a thread still at work on the state before adds to the tables of that.
            self._tables = tables = _TablesOf(table.detach(), table._version, TableCache())
        return tables.kept.get((rows, cols), table.device, lambda: interpolate_position_table(table, rows, cols))

    def __reduce__(self) -> tuple[type[PositionTables], tuple[()]]:
        return type(self), ()
