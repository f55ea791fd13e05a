"""Operators and pictures in, the arrays and numbers that device kernels read them by out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.plan.banded_operator import BandedOperator

__all__ = ["PictureLayout", "chunked_columns", "grouped_rows"]


@dataclass(frozen=True)
class PictureLayout:
    """Where the samples of a picture lie, relative to its address, in bytes.

    Attributes:
        step: samples from pixel to pixel: 3 or 4 interleaved, 1 planar.
        row_step: from row to row.
        plane_step: from channel to channel where planar, else 0.
        width: of the picture in pixels.
        align: 16, 4 or 1: what divides the address, the steps and a row's length.
    """

    step: int
    row_step: int
    plane_step: int
    width: int
    align: int

    @classmethod
    def of(cls, picture: torch.Tensor) -> PictureLayout | None:
        """The layout of a (H, W, 3) view; None if it is neither interleaved by 3 or 4 nor planar."""
        row_step, column_step, channel_step = picture.stride()
        height, width, _ = picture.shape
        if channel_step == 1 and (width == 1 or column_step == 3):
            step = 3
        # Whole groups of four are read: with the first of them cut off, the last group would end beyond the picture.
        elif channel_step == 1 and column_step == 4 and picture.data_ptr() % 4 == 0:
            step = 4
        elif width == 1 or column_step == 1:
            step = 1
        else:
            return None
        return cls.at(picture.data_ptr(), step, row_step if height > 1 else 0, channel_step, width)

    @classmethod
    def at(cls, address: int, step: int, row_step: int, channel_step: int, width: int) -> PictureLayout:
        """The layout of samples at an address, or of several whose addresses have this common divisor."""
        plane_step = channel_step if step == 1 else 0
        common = math.gcd(address, row_step, plane_step, width * step, 16)
        return cls(step, row_step, plane_step, width, align=common if common == 16 else 4 if common % 4 == 0 else 1)

    @property
    def planar(self) -> bool:
        """Whether each channel is a picture of its own."""
        return self.step == 1

    @property
    def length(self) -> int:
        """Bytes of a row."""
        return self.width * self.step


def grouped_rows(
    operator: BandedOperator, size: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Rows in groups that share their source rows.

    Returns:
        (groups,) int32, first source row of each group; (groups,) int32, how many it needs; (groups, most rows, size)
        float32 weights of each source row for each row of the group. The last group is filled with zeros.
    """
    rows = len(operator.start)
    groups = -(-rows // size)
    member = np.minimum(np.arange(groups * size), rows - 1).reshape(groups, size)
    first = operator.start[member].min(axis=1)
    count = (operator.start + operator.count)[member].max(axis=1) - first
    weights = np.zeros((groups, int(count.max()), size), np.float32)
    row = np.arange(rows)
    group = row // size
    for tap in range(operator.weights.shape[1]):
        has = operator.count > tap
        weights[group[has], (operator.start - first[group])[has] + tap, row[has] % size] = operator.weights[has, tap]
    return first.astype(np.int32), count.astype(np.int32), weights


def chunked_columns(
    operator: BandedOperator, align: int, chunk: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Columns whose bands start at multiples of `align` and are whole chunks long.

    Returns:
        (columns,) int32, first sample of each column's band in units of `align`; (columns, chunks * `chunk`) float64
        weights, zero where a band was lengthened.
    """
    first = operator.start // align
    shift = operator.start - first * align
    length = int((shift + operator.count).max())
    weights = np.zeros((len(first), -(-length // chunk) * chunk))
    column = np.arange(len(first))
    for tap in range(operator.weights.shape[1]):
        has = operator.count > tap
        weights[column[has], shift[has] + tap] = operator.weights[has, tap]
    return first.astype(np.int32), weights
