"""Operators of one axis, as dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from depth_anything_3.inputs.plan.banded_operator import BandedOperator


def dense(operator: BandedOperator) -> np.ndarray:
    matrix = np.zeros((len(operator.start), operator.source_size))
    for row, start, count, weights in zip(matrix, operator.start, operator.count, operator.weights, strict=True):
        row[start : start + count] = weights[:count]
    return matrix


@pytest.mark.parametrize("size", [1, 2, 5])
def test_chroma_is_doubled_by_repetition_or_linearly(size):
    samples = np.arange(size, dtype=float) ** 2
    positions = np.arange(2 * size) / 2 - 0.25
    assert np.array_equal(dense(BandedOperator.doubled(size)) @ samples, np.repeat(samples, 2))
    linear = np.interp(positions, np.arange(size), samples)
    np.testing.assert_allclose(dense(BandedOperator.doubled_linearly(size)) @ samples, linear)
