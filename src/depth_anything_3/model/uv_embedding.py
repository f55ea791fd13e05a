"""Add sinusoids of image coordinates to feature maps.

Coordinates depend only on the aspect ratio of the input image: the half diagonal is 1 at every resolution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from depth_anything_3.model.table_cache import TableCache
from depth_anything_3.model.tracing import is_recording

__all__ = ["UvEmbedding", "sinusoids", "uv_axes"]

_BASE = 100.0
_STRENGTH = 0.1


def uv_axes(rows: int, cols: int, aspect: float, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return coordinates of the cell centres of a grid that spans the image.

    Args:
        rows: Rows of the grid.
        cols: Columns of the grid.
        aspect: Width over height of the input image (not of the grid).
        device: Device of the result.

    Returns:
        `u` `(cols,)` from left to right and `v` `(rows,)` from top to bottom, float32. The corners of the image are at
        distance 1 from its centre.
    """
    half_diagonal = math.hypot(aspect, 1.0)
    u_end = aspect / half_diagonal * (cols - 1) / cols
    v_end = 1.0 / half_diagonal * (rows - 1) / rows
    return (
        torch.linspace(-u_end, u_end, cols, dtype=torch.float32, device=device),
        torch.linspace(-v_end, v_end, rows, dtype=torch.float32, device=device),
    )


def _recorded_uv_axes(rows: int, cols: int, image_size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what `uv_axes` does, by operations on tensors, which keep the sizes of a recorded graph variable."""
    height, width = (torch.scalar_tensor(side, dtype=torch.float32, device=device) for side in image_size)
    diagonal = (height * height + width * width).sqrt()
    u, v = (
        (2.0 * torch.arange(cells, dtype=torch.float32, device=device) + 1.0 - cells) / cells for cells in (cols, rows)
    )
    return u * (width / diagonal), v * (height / diagonal)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return sines, then cosines, of positions times decreasing frequencies: `(n,)` to `(n, width)`."""
    count = width // 2
    exponents = torch.arange(count, dtype=torch.float32, device=positions.device) / count
    angles = positions.unsqueeze(-1) * _BASE**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class UvEmbedding:
    """Adds coordinates to maps, with a cache of sinusoids by size."""

    def __init__(self) -> None:
        self._tables: TableCache[tuple[Tensor, Tensor]] = TableCache(limit=32)

    def add_(self, x: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Add the embedding to a map in place: u to the first half of the channels, v to the second.

        Args:
            x: `(V, C, h, w)` float32, C a multiple of 4.
            image_size: (height, width) of the input image.
        """
        _, channels, rows, cols = x.shape
        half = channels // 2
        if is_recording():  # a write into a slice is expensive in other formats
            u, v = _sinusoids(half, _recorded_uv_axes(rows, cols, image_size, x.device))
            return torch.cat([x[:, :half] + u, x[:, half:] + v], dim=1)
        aspect = image_size[1] / image_size[0]
        key = (half, rows, cols, aspect)
        u, v = self._tables.get(key, x.device, lambda: _sinusoids(half, uv_axes(rows, cols, aspect, x.device)))
        # Each half varies along one axis only, so broadcasting avoids a full map as large as x.
        x[:, :half] += u
        x[:, half:] += v
        return x


def _sinusoids(half: int, axes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the embeddings along u `(half, 1, cols)` and along v `(half, rows, 1)`."""
    u, v = axes
    return _STRENGTH * sinusoids(u, half).T.unsqueeze(1), _STRENGTH * sinusoids(v, half).T.unsqueeze(2)
