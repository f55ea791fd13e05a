"""Convert a `ResizePlan` to banded row and column operators.

A chain of resizes is linear and separable: one sparse matrix for the rows and one for the columns, each with a narrow
band of non-zero weights. Steps are composed by multiplying their matrices; a crop drops rows; an EXIF orientation
reverses or transposes them. So an image is read once, and every device applies the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan, ResizeStep

__all__ = ["BandedOperator", "ResamplePass", "resample_passes"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MIN_OVERLAP = 1e-3  # of a source sample; OpenCV drops smaller ones without renormalising
_CUBIC_A = -0.75


@dataclass(frozen=True, eq=False)
class BandedOperator:
    """A banded matrix of `len(start)` rows over `source_size` samples; each row is one run of weights.

    Attributes:
        source_size: number of source samples.
        start: (m,) int64, first source sample of each row.
        count: (m,) int64, number of weights of each row, at least 1.
        weights: (m, taps) float64, zero beyond each row's count.
    """

    source_size: int
    start: IntArray
    count: IntArray
    weights: FloatArray

    @classmethod
    def from_bands(cls, source_size: int, start: IntArray, weights: FloatArray) -> BandedOperator:
        """Build an operator from bands that may begin or end with zeros."""
        nonzero = weights != 0.0
        lead = np.argmax(nonzero, axis=1)
        count = weights.shape[1] - lead - np.argmax(nonzero[:, ::-1], axis=1)
        taps = np.arange(int(count.max()))
        columns = np.minimum(lead[:, None] + taps, weights.shape[1] - 1)
        tight = np.where(taps < count[:, None], np.take_along_axis(weights, columns, axis=1), 0.0)
        return cls(source_size, start + lead, count, tight)

    @classmethod
    def identity(cls, size: int) -> BandedOperator:
        """Return the identity operator of an axis."""
        return cls(size, np.arange(size), np.ones(size, np.int64), np.ones((size, 1)))

    @classmethod
    def doubled(cls, size: int) -> BandedOperator:
        """Return the operator that repeats each sample."""
        return cls(size, np.arange(2 * size) // 2, np.ones(2 * size, np.int64), np.ones((2 * size, 1)))

    @classmethod
    def doubled_linearly(cls, size: int) -> BandedOperator:
        """Return the linear interpolation to twice the samples: weights 3/4 and 1/4, replicated border."""
        position = np.arange(2 * size) / 2 - 0.25
        first = np.clip(np.floor(position).astype(np.int64), 0, max(0, size - 2))
        share = np.clip(position - first, 0.0, min(1, size - 1))
        return cls.from_bands(size, first, np.stack([1.0 - share, share], axis=1))

    @classmethod
    def area(cls, source_size: int, result_size: int) -> BandedOperator:
        """Return OpenCV's `INTER_AREA` for shrinking: means over intervals."""
        ratio = 1.0 / (result_size / source_size)
        low = np.arange(result_size) * ratio
        high = low + ratio
        length = np.minimum(ratio, source_size - low)
        last = np.minimum(np.floor(high).astype(np.int64), source_size - 1)
        first_whole = np.minimum(np.ceil(low).astype(np.int64), last)
        start = np.where(first_whole - low > _MIN_OVERLAP, first_whole - 1, first_whole)
        sample = start[:, None] + np.arange(int((last - start).max()) + 1)

        low, high, length = low[:, None], high[:, None], length[:, None]
        first_whole, last = first_whole[:, None], last[:, None]
        overlap = np.where(sample < first_whole, first_whole - low, 1.0)
        tail = np.where(high - last > _MIN_OVERLAP, np.minimum(np.minimum(high - last, 1.0), length), 0.0)
        overlap = np.where(sample == last, tail, overlap)
        overlap = np.where(sample > last, 0.0, overlap)
        return cls.from_bands(source_size, start, overlap / length)

    @classmethod
    def area_of_means(cls, source_size: int, result_size: int, cell: int) -> BandedOperator:
        """Like `area`, but from means over cells of `cell` samples, the last of which may be shorter.

        An interval's mean is a difference of the running integral at its ends. At cell borders the integral is exact;
        between them it is interpolated by the cubic through the four nearest borders, with cells mirrored at the image
        border. This is 3 to 5 dB closer than splitting cells proportionally.

        Args:
            source_size: length of the full axis in samples.
            result_size: number of intervals.
            cell: number of samples per cell.
        """
        borders: FloatArray = np.minimum(np.arange(0, source_size + cell, cell), source_size).astype(np.float64)
        cells = len(borders) - 1
        ratio = 1.0 / (result_size / source_size)
        low: FloatArray = np.asarray(np.arange(result_size) * ratio, np.float64)
        high: FloatArray = np.asarray(np.minimum(low + ratio, source_size), np.float64)
        first = np.clip(np.searchsorted(borders, low, side="right") - 2, 0, cells - 1)
        last = np.clip(np.searchsorted(borders, high, side="left"), 0, cells - 1)
        weights = np.zeros((result_size, int((last - first).max()) + 1))
        share: FloatArray = np.asarray(1.0 / (high - low), np.float64)
        _add_integral(weights, first, borders, high, share)
        _add_integral(weights, first, borders, low, -share)
        return cls.from_bands(cells, first, weights)

    @classmethod
    def cubic(cls, source_size: int, result_size: int) -> BandedOperator:
        """Return OpenCV's `INTER_CUBIC`: Keys' kernel with a = -0.75, four taps at any scale, replicated border."""
        ratio = 1.0 / (result_size / source_size)
        position = (np.arange(result_size) + 0.5) * ratio - 0.5
        whole = np.floor(position)
        t = position - whole
        a = _CUBIC_A
        w0 = a * t * (1.0 - t) ** 2
        w1 = 1.0 - (a + 3.0) * t**2 + (a + 2.0) * t**3
        w3 = a * t**2 * (1.0 - t)
        taps = np.stack([w0, w1, 1.0 - w0 - w1 - w3, w3], axis=1)

        sample = np.clip(whole.astype(np.int64)[:, None] + np.arange(-1, 3), 0, source_size - 1)
        weights = np.zeros_like(taps)
        rows = np.arange(result_size)
        for k in range(4):  # one at a time: clamped taps may share a sample
            weights[rows, sample[:, k] - sample[:, 0]] += taps[:, k]
        return cls.from_bands(source_size, sample[:, 0], weights)

    def then(self, later: BandedOperator) -> BandedOperator:
        """Return the product `later @ self`: this operator first, then `later`."""
        # Rows of this operator used by each row of `later`; beyond its count, the last row with weight 0.
        taps = np.minimum(np.arange(later.weights.shape[1]), later.count[:, None] - 1)
        used = later.start[:, None] + taps
        start = self.start[used].min(axis=1)
        own = np.arange(self.weights.shape[1])
        width = int((self.start[used] - start[:, None]).max()) + len(own)
        weights = np.zeros((len(start), width))
        rows = np.arange(len(start))[:, None]
        for k in range(used.shape[1]):
            columns = (self.start[used[:, k]] - start)[:, None] + own
            weights[rows, columns] += later.weights[:, k, None] * self.weights[used[:, k]]
        return BandedOperator.from_bands(self.source_size, start, weights)

    def rows(self, first: int, size: int) -> BandedOperator:
        """Return only the rows `first` to `first + size - 1`: a crop of the result."""
        part = slice(first, first + size)
        return BandedOperator(self.source_size, self.start[part], self.count[part], self.weights[part])

    def mirrored(self) -> BandedOperator:
        """Return the operator for a reversed source and a reversed result."""
        flipped = BandedOperator(self.source_size, self.start[::-1], self.count[::-1], self.weights[::-1])
        return flipped.reversed()

    def reversed(self) -> BandedOperator:
        """Return the operator for a reversed source."""
        taps = np.arange(self.weights.shape[1])
        mirrored = np.take_along_axis(self.weights, np.maximum(self.count[:, None] - 1 - taps, 0), axis=1)
        weights = np.where(taps < self.count[:, None], mirrored, 0.0)
        return BandedOperator(self.source_size, self.source_size - self.start - self.count, self.count, weights)


@dataclass(frozen=True, eq=False)
class ResamplePass:
    """One pass over an image: row and column operators, rounding to 8 bits, and an optional transpose.

    Attributes:
        rows: operator over the stored rows.
        columns: operator over the stored columns.
        transpose: whether the result's rows are the stored columns.
        ties_up: whether ties round up (OpenCV's exact 2x2 mean) instead of to even.
    """

    rows: BandedOperator
    columns: BandedOperator
    transpose: bool = False
    ties_up: bool = False


def resample_passes(plan: ResizePlan, *, fuse: bool = True) -> tuple[ResamplePass, ...]:
    """Return the passes that carry out a plan: one, or two where a single pass would not match the reference.

    An image that is enlarged and then resized to multiples of 14 needs two, because the reference clips the overshoot
    of the first cubic; one linear operator would differ by up to 73 levels on black and white detail. Everywhere else
    one pass is within one 8-bit level of the reference.

    Args:
        plan: the geometry.
        fuse: False runs every resize in its own pass with rounding between them, which is more exact but slower.
    """
    chains = [plan.steps]
    enlarges_then_aligns = len(plan.steps) == 2 and plan.steps[0].interpolation is Interpolation.CUBIC
    if plan.steps and (enlarges_then_aligns or not fuse):
        chains = [(step,) for step in plan.steps]

    passes = []
    for index, chain in enumerate(chains):
        size = chain[0].source_hw if chain else plan.source_hw
        rows, columns = (_compose(_chain_operators(chain, axis, plan, index == 0), size[axis]) for axis in (0, 1))
        if plan.crop and index == len(chains) - 1:
            rows = rows.rows(plan.crop.top, plan.crop.height)
            columns = columns.rows(plan.crop.left, plan.crop.width)
        ties_up = len(chain) == 1 and _halves_exactly(chain[0])
        passes.append(ResamplePass(rows, columns, ties_up=ties_up))
    passes[0] = _as_stored(passes[0], plan)
    return tuple(passes)


def _chain_operators(chain: tuple[ResizeStep, ...], axis: int, plan: ResizePlan, starts: bool) -> list[BandedOperator]:
    if not starts or not chain:
        return [_axis_operator(step, axis) for step in chain]
    return [_first_axis_operator(chain[0], axis, plan), *(_axis_operator(step, axis) for step in chain[1:])]


def _add_integral(
    weights: FloatArray, first: IntArray, borders: FloatArray, ends: FloatArray, scale: FloatArray
) -> None:
    """Add `scale` times the running integral up to `ends` to rows of cell weights that start at cell `first`.

    The integral before `first` is omitted, because it cancels between the two ends of an interval.
    """
    width = np.diff(borders)
    cell = np.clip(np.searchsorted(borders, ends, side="left") - 1, 0, len(width) - 1)
    left, right = np.maximum(cell - 1, 0), np.minimum(cell + 1, len(width) - 1)  # mirrored at the image border
    # Nodes at the four nearest borders, relative to the cell's left border, where the integral is 0.
    a, b = -width[left], width[cell]
    c, t = b + width[right], ends - borders[cell]
    at_a = t * (t - b) * (t - c) / (a * (a - b) * (a - c))
    at_b = t * (t - a) * (t - c) / (b * (b - a) * (b - c))
    at_c = t * (t - a) * (t - b) / (c * (c - a) * (c - b))
    rows = np.arange(len(ends))
    for used, part in ((left, a * at_a), (cell, b * (at_b + at_c)), (right, width[right] * at_c)):
        np.add.at(weights, (rows, used - first), scale * part)
    for k in range(weights.shape[1]):  # cells entirely before the end
        whole = np.minimum(first + k, len(width) - 1)
        weights[:, k] += np.where(first + k < cell, scale * width[whole], 0.0)


def _first_axis_operator(step: ResizeStep, axis: int, plan: ResizePlan) -> BandedOperator:
    """Return the first resize along one axis of the upright image, from its samples or its cell means."""
    if plan.reduced_by == 1:
        return _axis_operator(step, axis)
    orientation = plan.orientation
    stored_axis = 1 - axis if orientation.transpose else axis
    operator = BandedOperator.area_of_means(step.source_hw[axis], step.result_hw[axis], plan.reduced_by)
    # The shorter cell is the last one in stored order.
    return operator.mirrored() if (orientation.flip_rows, orientation.flip_columns)[stored_axis] else operator


def _axis_operator(step: ResizeStep, axis: int) -> BandedOperator:
    source, result = step.source_hw[axis], step.result_hw[axis]
    if source == result:
        return BandedOperator.identity(source)
    make = BandedOperator.area if step.interpolation is Interpolation.AREA else BandedOperator.cubic
    return make(source, result)


def _compose(operators: list[BandedOperator], size: int) -> BandedOperator:
    composed = operators[0] if operators else BandedOperator.identity(size)
    for operator in operators[1:]:
        composed = composed.then(operator)
    return composed


def _halves_exactly(step: ResizeStep) -> bool:
    area = step.interpolation is Interpolation.AREA
    return area and step.source_hw == (2 * step.result_hw[0], 2 * step.result_hw[1])


def _as_stored(upright: ResamplePass, plan: ResizePlan) -> ResamplePass:
    """Convert a pass over the upright image to the stored rows and columns."""
    orientation = plan.orientation
    rows, columns = (upright.columns, upright.rows) if orientation.transpose else (upright.rows, upright.columns)
    if orientation.flip_rows:
        rows = rows.reversed()
    if orientation.flip_columns:
        columns = columns.reversed()
    return ResamplePass(rows, columns, transpose=orientation.transpose, ties_up=upright.ties_up)
