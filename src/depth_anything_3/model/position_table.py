"""Interpolate the learned 37x37 position table to the patch grid of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_anything_3.model.table_cache import TableCache
from depth_anything_3.model.tracing import is_variable

__all__ = ["TABLE_SIDE", "PositionTables", "interpolate_position_table"]

_CUBIC = -0.75  # the parameter A of bicubic interpolation

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
    if is_variable(rows) or is_variable(cols):
        return _recorded_interpolation(table, rows, cols)
    if rows == cols == TABLE_SIDE:
        return table
    grid = torch.unflatten(table[:, 1:], 1, (TABLE_SIDE, TABLE_SIDE)).permute(0, 3, 1, 2)
    # Under torch.jit.trace rows and cols are tensors, which F.interpolate does not accept as scale factors.
    scale = ((float(rows) + 0.1) / TABLE_SIDE, (float(cols) + 0.1) / TABLE_SIDE)
    resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _recorded_interpolation(table: Tensor, rows: int, cols: int) -> Tensor:
    """Interpolate by two matrix products, which keep the sizes of a recorded graph variable.

    A recorded `F.interpolate` would keep the scale factor of the traced size.
    """
    height, width = (torch.scalar_tensor(side, dtype=torch.float32, device=table.device) for side in (rows, cols))
    whole = (height == TABLE_SIDE) & (width == TABLE_SIDE)
    # With a scale of exactly 1 the matrices are identities.
    by_row, by_col = (
        _cubic_matrix(side, torch.where(whole, 1.0, (size + 0.1) / TABLE_SIDE))
        for side, size in ((rows, height), (cols, width))
    )
    grid = torch.unflatten(table[0, 1:], 0, (TABLE_SIDE, TABLE_SIDE))  # (37, 37, C)
    by_rows = (by_row @ grid.flatten(1)).unflatten(1, (TABLE_SIDE, -1))  # (rows, 37, C)
    resized = by_col @ by_rows  # (rows, cols, C)
    return torch.cat([table[:, :1], resized.flatten(0, 1).unsqueeze(0)], dim=1)


def _cubic_matrix(side: int, scale: Tensor) -> Tensor:
    """Return the weights `(side, 37)` of cubic interpolation along one axis, as `F.interpolate` computes them."""
    device = scale.device
    source = (torch.arange(side, dtype=torch.float32, device=device) + 0.5) / scale - 0.5
    first = source.floor()
    cells = torch.arange(TABLE_SIDE, dtype=torch.float32, device=device)
    weights = torch.zeros(side, TABLE_SIDE, device=device)
    for tap in (-1, 0, 1, 2):
        distance = (source - first - tap).abs()
        if tap in (0, 1):  # at most 1 away
            weight = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
        else:
            weight = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
        cell = (first + tap).clamp(0, TABLE_SIDE - 1)  # the border is repeated
        weights = weights + torch.where(cell.unsqueeze(1) == cells, weight.unsqueeze(1), 0.0)
    return weights


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
