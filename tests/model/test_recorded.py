"""Tables as they are computed in exported graphs, beside those of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depth_anything_3.model.position_table import _recorded_interpolation, interpolate_position_table
from depth_anything_3.model.uv_embedding import _recorded_uv_axes, uv_axes


@pytest.mark.parametrize(
    ("rows", "cols"), [(1, 1), (1, 37), (37, 20), (20, 36), (36, 27), (38, 37), (72, 40), (120, 3)]
)
def test_the_position_table_by_matrices_is_that_of_torch(rows, cols):
    table = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(1))
    expected = interpolate_position_table(table, rows, cols)
    # Not torch.testing, whose first call imports for seconds.
    np.testing.assert_allclose(_recorded_interpolation(table, rows, cols), expected, rtol=0, atol=3e-5)


def test_the_position_table_of_its_own_size_is_itself():
    table = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(_recorded_interpolation(table, 37, 37), table)


@pytest.mark.parametrize(("rows", "cols", "size"), [(1, 1, (14, 14)), (80, 144, (280, 504)), (18, 10, (504, 280))])
def test_axes_by_tensors_are_those_of_torch(rows, cols, size):
    expected = uv_axes(rows, cols, size[1] / size[0])
    for one, other in zip(_recorded_uv_axes(rows, cols, size, torch.device("cpu")), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-7)
