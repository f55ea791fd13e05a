"""Resample images on the CPU with compiled banded kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.ma  # numba imports it in its first call, and a fork in the middle of an import breaks the child
import numpy.typing as npt

from depth_anything_3.inputs.compiled import jit
from depth_anything_3.inputs.plan.banded_operator import BandedOperator, ResamplePass
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan

__all__ = ["CompiledPass", "compile_passes", "resample", "resample_stepwise"]

UInt8Array = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]
_MIN_RUN, _MAX_RUN = 6, 8  # source rows; shorter runs are faster when weighted row by row
_ROWS_PER_SWEEP = 4
_TAPS_PER_GROUP = 8


class _Rows(NamedTuple):
    """An operator over m rows in the kernel's layout. Tables are padded with zeros to their longest row.

    Attributes:
        which, alone, own: source rows with individual weights: indices (m, k), weights (m, k), count per row (m,).
        first, length, common, runs: runs of six to eight rows with equal weights, as in area means, which are summed
            before weighting: first row (m, k), length (m, k), weight (m, k), count per row (m,).
    """

    which: Indices
    alone: Weights
    own: Indices
    first: Indices
    length: Indices
    common: Weights
    runs: Indices


class _Columns(NamedTuple):
    """An operator over n columns in the kernel's layout.

    Attributes:
        start, taps, weights: `start`, `count` and `weights` of the `BandedOperator`.
        tripled: (n, 24 * groups) weights, each repeated three times, of the groups of eight taps that fit every column.
    """

    start: Indices
    taps: Indices
    weights: Weights
    tripled: Weights


class CompiledPass:
    """A `ResamplePass` in the kernel's layout: contiguous float32 weights.

    Attributes:
        rows, columns: the operators.
        result_hw: (height, width) of the pass's result, upright.
        transpose, ties_up: as in `ResamplePass`.
    """

    __slots__ = ("columns", "result_hw", "rows", "ties_up", "transpose")

    def __init__(self, source: ResamplePass) -> None:
        self.rows = _compiled_rows(source.rows)
        self.columns = _compiled_columns(source.columns)
        self.transpose = source.transpose
        self.ties_up = source.ties_up
        height, width = len(source.rows.start), len(source.columns.start)
        self.result_hw = (width, height) if source.transpose else (height, width)


def _compiled_rows(operator: BandedOperator) -> _Rows:
    weights = operator.weights.astype(np.float32)
    tap, count = np.arange(weights.shape[1]), operator.count[:, None]
    begins = np.ones(weights.shape, bool)
    begins[:, 1:] = (np.diff(weights) != 0) | (tap[1:] == count)  # of a run of equal weights
    begin = np.maximum.accumulate(np.where(begins, tap, 0), axis=1)
    end = np.full(weights.shape, len(tap))
    end[:, :-1] = np.minimum.accumulate(np.where(begins, tap, len(tap))[:, :0:-1], axis=1)[:, ::-1]
    begin += (tap - begin) // _MAX_RUN * _MAX_RUN
    length = np.minimum(end - begin, _MAX_RUN)
    summed = length >= _MIN_RUN
    which, own = _packed_left((tap < count) & ~summed)
    first, runs = _packed_left((tap < count) & summed & (tap == begin))
    alone = np.take_along_axis(weights, which, axis=1) * (np.arange(which.shape[1]) < own[:, None])
    alone = np.pad(alone, ((0, 0), (0, -alone.shape[1] % _ROWS_PER_SWEEP)))
    lengths, common = (np.take_along_axis(one, first, axis=1) for one in (length, weights))
    start = operator.start[:, None]
    return _Rows(start + which, alone, own, start + first, lengths, common, runs)


def _packed_left(chosen: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Return the indices of each row's chosen entries, as wide as the longest row, and their counts."""
    count = chosen.sum(axis=1)
    return np.ascontiguousarray(np.argsort(~chosen, axis=1, kind="stable")[:, : max(1, int(count.max()))]), count


def _compiled_columns(operator: BandedOperator) -> _Columns:
    weights = np.ascontiguousarray(operator.weights, dtype=np.float32)
    groups = weights.shape[1] // _TAPS_PER_GROUP if operator.count.min() >= _TAPS_PER_GROUP else 0
    tripled = np.repeat(weights[:, : groups * _TAPS_PER_GROUP], 3, axis=1)
    return _Columns(np.ascontiguousarray(operator.start), np.ascontiguousarray(operator.count), weights, tripled)


def compile_passes(passes: Sequence[ResamplePass]) -> tuple[CompiledPass, ...]:
    """Convert passes to the kernel's layout and precision."""
    return tuple(CompiledPass(one) for one in passes)


def resample(
    pixels: UInt8Array, passes: Sequence[CompiledPass], *, planar: bool = False, out: UInt8Array | None = None
) -> UInt8Array:
    """Resample an image on one CPU core, without holding the interpreter lock.

    The result is within one 8-bit level of the reference (two OpenCV resizes with rounding between them); 8 to 18 % of
    samples differ by one level when two area steps are fused, almost none otherwise.

    Args:
        pixels: (H, W, 3), (H, W, 4) or (H, W) uint8 as stored; alpha is dropped, grey is repeated. With `planar`,
            (3, H, W). A view with reversed channels (`bgr[..., ::-1]`) is read without a copy.
        passes: compiled passes of the plan for this size.
        planar: whether `pixels` is channels first.
        out: (3, height, width) uint8 array to write to.

    Returns:
        (3, height, width) uint8 RGB, upright; `out` if given.
    """
    for one in passes[:-1]:
        pixels = _run_pass(pixels, one, planar, None)
        planar = True
    return _run_pass(pixels, passes[-1], planar, out)


def _run_pass(pixels: UInt8Array, one: CompiledPass, planar: bool, out: UInt8Array | None) -> UInt8Array:
    if out is None:
        out = np.empty((3, *one.result_hw), np.uint8)
    target = out.transpose(0, 2, 1) if one.transpose else out  # the kernel writes in stored orientation
    if planar:
        for source, plane in zip(pixels, target, strict=True):
            _kernel(packed := _packed(source), 1, _blank(packed), *one.rows, *one.columns, one.ties_up, plane[None])
    elif pixels.ndim == 2:
        _kernel(packed := _packed(pixels), 1, _blank(packed), *one.rows, *one.columns, one.ties_up, target[:1])
        out[1:] = out[0]
    else:
        if pixels.shape[2] == 3 and pixels.strides[2] < 0:
            pixels, target = pixels[..., ::-1], target[::-1]
        _kernel(
            packed := _packed(pixels), pixels.shape[2], _blank(packed), *one.rows, *one.columns, one.ties_up, target
        )
    return out


def _packed(pixels: UInt8Array) -> UInt8Array:
    """Return contiguous rows (H, W * channels), read-only because the kernel is compiled for that."""
    packed: UInt8Array = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view()
    packed.flags.writeable = False
    return packed


def _blank(packed: UInt8Array) -> UInt8Array:
    """Return a read-only row of zeros."""
    row = np.zeros(packed.shape[1], np.uint8)
    row.flags.writeable = False
    return row


def resample_stepwise(pixels: UInt8Array, plan: ResizePlan) -> UInt8Array:
    """Resample like the reference, with one OpenCV resize per step. For comparison; `resample` is faster.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright, of the plan's `source_hw`.
        plan: the geometry.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    kernels = {Interpolation.AREA: cv2.INTER_AREA, Interpolation.CUBIC: cv2.INTER_CUBIC}
    for step in plan.steps:
        height, width = step.result_hw
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=kernels[step.interpolation]), np.uint8)
    if plan.crop:
        crop = plan.crop
        pixels = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    return np.ascontiguousarray(pixels)


@jit
def _blend_rows(source, blank, which, weights, count, first, lengths, common, runs, line):  # type: ignore[no-untyped-def]
    """Blend source rows into one result row: four weighted rows per sweep, or up to eight rows of equal weight."""
    length = line.size
    line[:] = np.float32(0.0)
    for k in range(0, count, _ROWS_PER_SWEEP):
        w0 = weights[k]
        w1 = weights[k + 1]
        w2 = weights[k + 2]
        w3 = weights[k + 3]
        s0 = source[which[k]]
        s1 = source[which[k + 1]] if k + 1 < count else blank
        s2 = source[which[k + 2]] if k + 2 < count else blank
        s3 = source[which[k + 3]] if k + 3 < count else blank
        for i in range(length):
            line[i] += w0 * s0[i] + w1 * s1[i] + w2 * s2[i] + w3 * s3[i]
    for k in range(runs):
        top = first[k]
        n = lengths[k]
        w0 = common[k]
        s0 = source[top]
        s1 = source[top + 1]
        s2 = source[top + 2]
        s3 = source[top + 3]
        s4 = source[top + 4]
        s5 = source[top + 5]
        s6 = source[top + 6] if n > 6 else blank
        s7 = source[top + 7] if n > 7 else blank
        for i in range(length):
            # 16-bit sums take 0.6 of the time of weighted floats. The outer cast keeps them at 16 bits.
            total = np.uint16(
                np.uint16(s0[i]) + np.uint16(s1[i]) + np.uint16(s2[i]) + np.uint16(s3[i])
                + np.uint16(s4[i]) + np.uint16(s5[i]) + np.uint16(s6[i]) + np.uint16(s7[i])
            )  # fmt: skip
            line[i] += w0 * np.float32(total)


@jit
def _blend_columns(line, step, starts, counts, weights, sums):  # type: ignore[no-untyped-def]
    """Blend the columns of one row with `step` interleaved channels, or one channel."""
    zero = np.float32(0.0)
    for x in range(starts.size):
        i = starts[x] * step
        red = green = blue = zero
        if sums.shape[0] == 3:
            for k in range(counts[x]):
                weight = weights[x, k]
                red += weight * line[i]
                green += weight * line[i + 1]
                blue += weight * line[i + 2]
                i += step
            sums[1, x] = green
            sums[2, x] = blue
        else:
            for k in range(counts[x]):
                red += weights[x, k] * line[i + k]
        sums[0, x] = red


@jit
def _blend_wide_columns(line, starts, counts, weights, tripled, sums):  # type: ignore[no-untyped-def]
    """Like `_blend_columns`, for three interleaved channels and at least eight taps; sums per channel come last."""
    samples = 3 * _TAPS_PER_GROUP
    products = np.empty(samples, np.float32)
    zero = np.float32(0.0)
    for x in range(starts.size):
        i = 3 * starts[x]
        for j in range(samples):
            products[j] = tripled[x, j] * line[i + j]
        taps = _TAPS_PER_GROUP
        while taps + _TAPS_PER_GROUP <= counts[x]:
            for j in range(samples):
                products[j] += tripled[x, 3 * taps + j] * line[i + 3 * taps + j]
            taps += _TAPS_PER_GROUP
        red = green = blue = zero
        for j in range(0, samples, 3):
            red += products[j]
            green += products[j + 1]
            blue += products[j + 2]
        i += 3 * taps
        for k in range(taps, counts[x]):
            weight = weights[x, k]
            red += weight * line[i]
            green += weight * line[i + 1]
            blue += weight * line[i + 2]
            i += 3
        sums[0, x] = red
        sums[1, x] = green
        sums[2, x] = blue


@jit
def _store_levels(sums, ties_up, out):  # type: ignore[no-untyped-def]
    for c in range(sums.shape[0]):
        for x in range(sums.shape[1]):
            value = min(max(sums[c, x], np.float32(0.0)), np.float32(255.0))
            out[c, x] = np.uint8(np.floor(value + np.float32(0.5)) if ties_up else np.rint(value))


@jit
def _kernel(  # type: ignore[no-untyped-def]
    source, step, blank, which, alone, count, first, length, common, runs,
    col_start, col_count, col_weights, col_tripled, ties_up, out
):  # fmt: skip
    """Blend the rows first (contiguous, vectorised), then the columns of the resulting row.

    `source`: (H, W * step) uint8 with `step` interleaved channels; `blank`: a row of zeros; `out`: (3 or 1, rows,
    columns) uint8 of any strides.
    """
    line = np.empty(source.shape[1], np.float32)
    sums = np.empty((out.shape[0], col_start.size), np.float32)
    wide = step == 3 and out.shape[0] == 3 and col_tripled.shape[1] > 0
    for y in range(count.size):
        _blend_rows(source, blank, which[y], alone[y], count[y], first[y], length[y], common[y], runs[y], line)
        if wide:
            _blend_wide_columns(line, col_start, col_count, col_weights, col_tripled, sums)
        else:
            _blend_columns(line, step, col_start, col_count, col_weights, sums)
        _store_levels(sums, ties_up, out[:, y])
