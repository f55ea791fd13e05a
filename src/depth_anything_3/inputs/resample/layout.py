"""Memory layouts of images and operators for the Triton kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.plan.banded_operator import BandedOperator

__all__ = ["ImageLayout", "chunked_columns", "grouped_rows"]


@dataclass(frozen=True)
class ImageLayout:
    """Strides of an image's samples in bytes.

    Attributes:
        step: stride between pixels: 3 or 4 if interleaved, 1 if planar.
        row_step: stride between rows.
        plane_step: stride between channels if planar, else 0.
        width: width of the image in pixels.
        align: 16, 4 or 1, which divides the address, the strides and a row's length.
    """

    step: int
    row_step: int
    plane_step: int
    width: int
    align: int

    @classmethod
    def of(cls, image: torch.Tensor) -> ImageLayout | None:
        """Return the layout of an (H, W, 3) view; None if it is neither interleaved by 3 or 4 nor planar."""
        row_step, column_step, channel_step = image.stride()
        height, width, _ = image.shape
        if channel_step == 1 and (width == 1 or column_step == 3):
            step = 3
        # Groups of four are read: with the first channel cut off, the last group would end beyond the image.
        elif channel_step == 1 and column_step == 4 and image.data_ptr() % 4 == 0:
            step = 4
        elif width == 1 or column_step == 1:
            step = 1
        else:
            return None
        return cls.at(image.data_ptr(), step, row_step if height > 1 else 0, channel_step, width)

    @classmethod
    def at(cls, address: int, step: int, row_step: int, channel_step: int, width: int) -> ImageLayout:
        """Return the layout of samples at an address, or at several addresses with this common divisor."""
        plane_step = channel_step if step == 1 else 0
        common = math.gcd(address, row_step, plane_step, width * step, 16)
        return cls(step, row_step, plane_step, width, align=common if common == 16 else 4 if common % 4 == 0 else 1)

    @property
    def planar(self) -> bool:
        """Whether the channels are stored separately."""
        return self.step == 1

    @property
    def length(self) -> int:
        """Length of a row in bytes."""
        return self.width * self.step


def grouped_rows(
    operator: BandedOperator, size: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Group result rows that share source rows.

    Returns:
        (groups,) int32 first source row of each group; (groups,) int32 number of source rows; (groups, max rows, size)
        float32 weight of each source row for each result row of the group. The last group is padded with zeros.
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
    """Extend column bands to start at multiples of `align` and to be whole chunks long.

    Returns:
        (columns,) int32 first sample of each column's band in units of `align`; (columns, chunks * `chunk`) float64
        weights, zero where a band was extended.
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
