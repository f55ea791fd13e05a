"""Interpolate the learned 37x37 position table to the patch grid of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_anything_3.model.table_cache import TableCache

__all__ = ["TABLE_SIDE", "PositionTables", "interpolate_position_table"]

TABLE_SIDE = 37
"""Rows and columns of the learned table: 518 pixels in patches of 14 pixels."""


def interpolate_position_table(table: Tensor, rows: int, cols: int) -> Tensor:
    """Resample the learned table to another grid, in float32.

    Bicubic (A = -0.75), half-pixel centres, no antialiasing. As in DINOv2, the sampling step comes from the scale
    factor `(size + 0.1) / 37` instead of the size; this shifts every sample slightly, and the weights were trained with
    it.

    Args:
        table: `(1, 1 + 37*37, C)`; the first row belongs to the class token and is not interpolated.
        rows: Patches per column of the image.
        cols: Patches per row of the image.

    Returns:
        `(1, 1 + rows*cols, C)` float32.
    """
    table = table.float()
    if rows == cols == TABLE_SIDE:
        return table
    grid = torch.unflatten(table[:, 1:], 1, (TABLE_SIDE, TABLE_SIDE)).permute(0, 3, 1, 2)
    # Under torch.jit.trace rows and cols are tensors, which F.interpolate does not accept as scale factors.
    scale = ((float(rows) + 0.1) / TABLE_SIDE, (float(cols) + 0.1) / TABLE_SIDE)
    resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class _TablesOf(NamedTuple):
    """Interpolated tables of one state of the learned table.

    Attributes:
        source: the learned table. The reference keeps its memory allocated, so that no other tensor gets its address.
        version: version counter of the learned table.
        cache: the interpolated tables.
    """

    source: Tensor
    version: int
    cache: TableCache[Tensor]

    def matches(self, table: Tensor) -> bool:
        """Whether the tables were interpolated from the current state of `table`."""
        source = self.source
        same = (source.device, source.dtype, source.data_ptr()) == (table.device, table.dtype, table.data_ptr())
        return same and self.version == table._version


class PositionTables:
    """Cache of interpolated tables, valid until the learned table changes.

    A change is a new tensor, another device or dtype, or an in-place write that torch counts: `load_state_dict`, `to`,
    an optimiser's step. Writes through `.data` are not counted. A copy starts empty.
    """

    def __init__(self) -> None:
        self._tables: _TablesOf | None = None

    def __call__(self, table: Tensor, rows: int, cols: int) -> Tensor:
        """Return the cached result of :func:`interpolate_position_table`."""
        wants_gradient = table.requires_grad and torch.is_grad_enabled()
        if torch.compiler.is_compiling() or table.is_inference() or wants_gradient:
            return interpolate_position_table(table, rows, cols)
        tables = self._tables
        if tables is None or not tables.matches(table):
            # Replaced as a whole, because another thread may still add tables of the previous state.
            self._tables = tables = _TablesOf(table.detach(), table._version, TableCache())
        return tables.cache.get((rows, cols), table.device, lambda: interpolate_position_table(table, rows, cols))

    def __reduce__(self) -> tuple[type[PositionTables], tuple[()]]:
        return type(self), ()
