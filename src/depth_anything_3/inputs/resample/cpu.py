"""Resample images on the CPU with compiled banded kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.ma  # numba imports it in its first call, and a fork in the middle of an import breaks the child
import numpy.typing as npt

from depth_anything_3.inputs.plan.banded_operator import BandedOperator, ResamplePass
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan
from depth_anything_3.inputs.resample.cpu_kernel import BLOCK, ROWS_PER_SWEEP, resample_rows
from depth_anything_3.inputs.resample.normalize import normalize

__all__ = ["CompiledPass", "Normalization", "Share", "compile_passes", "resample", "resample_stepwise", "run_in_parts"]

UInt8Array = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]
Share = Callable[[Callable[[int], None], int], None]
"""Calls a function with 0 to n - 1, on several cores."""

_MIN_SHARED_BYTES = 500_000  # of source pixels; smaller images take less time than a second thread needs to begin
_PARTS = 8
_MIN_RUN, _MAX_RUN = 6, 8  # source rows; shorter runs are faster when weighted row by row


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
    """

    start: Indices
    taps: Indices
    weights: Weights


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
    alone = np.pad(alone, ((0, 0), (0, -alone.shape[1] % ROWS_PER_SWEEP)))
    lengths, common = (np.take_along_axis(one, first, axis=1) for one in (length, weights))
    start = operator.start[:, None]
    return _Rows(start + which, alone, own, start + first, lengths, common, runs)


def _packed_left(chosen: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Return the indices of each row's chosen entries, as wide as the longest row, and their counts."""
    count = chosen.sum(axis=1)
    return np.ascontiguousarray(np.argsort(~chosen, axis=1, kind="stable")[:, : max(1, int(count.max()))]), count


def _compiled_columns(operator: BandedOperator) -> _Columns:
    start, taps = np.ascontiguousarray(operator.start), np.ascontiguousarray(operator.count)
    return _Columns(start, taps, np.ascontiguousarray(operator.weights, dtype=np.float32))


def compile_passes(passes: Sequence[ResamplePass]) -> tuple[CompiledPass, ...]:
    """Convert passes to the kernel's layout and precision."""
    return tuple(CompiledPass(one) for one in passes)


class Normalization(NamedTuple):
    """Where normalised values are written, and what they are.

    Attributes:
        table: (3, 256), the value of each level of red, green and blue.
        values: contiguous (3, height, width) array of the table's dtype.
    """

    table: npt.NDArray[Any]  # Any: float32, or 16 bits of a type that numpy does not have
    values: npt.NDArray[Any]


def resample(
    pixels: UInt8Array,
    passes: Sequence[CompiledPass],
    *,
    planar: bool = False,
    out: UInt8Array | None = None,
    normalization: Normalization | None = None,
    share: Share | None = None,
) -> UInt8Array:
    """Resample an image, without holding the interpreter lock.

    The result is within one 8-bit level of the reference (two OpenCV resizes with rounding between them); 8 to 18 % of
    samples differ by one level when two area steps are fused, almost none otherwise.

    Args:
        pixels: (H, W, 3), (H, W, 4) or (H, W) uint8 as stored; alpha is dropped, grey is repeated. With `planar`,
            (3, H, W). A view with reversed channels (`bgr[..., ::-1]`) is read without a copy.
        passes: compiled passes of the plan for this size.
        planar: whether `pixels` is channels first.
        out: contiguous (3, height, width) uint8 array to write to.
        normalization: also write normalised values.
        share: runs parts of the work on several cores, given a function of a part's number and the number of parts;
            None: one core.

    Returns:
        (3, height, width) uint8 RGB, upright; `out` if given.
    """
    for one in passes[:-1]:
        pixels = _run_pass(pixels, one, planar, np.empty((3, *one.result_hw), np.uint8), None, share)
        planar = True
    last = passes[-1]
    if out is None:
        out = np.empty((3, *last.result_hw), np.uint8)
    # Results that the kernel does not write in rows of colours are normalised afterwards: rotated and grey images.
    inside = None if last.transpose or pixels.ndim == 2 else normalization
    _run_pass(pixels, last, planar, out, inside, share)
    if inside is None and normalization is not None:
        normalize(out, normalization.table, normalization.values)
    return out


def _run_pass(
    pixels: UInt8Array,
    one: CompiledPass,
    planar: bool,
    out: UInt8Array,
    normalization: Normalization | None,
    share: Share | None,
) -> UInt8Array:
    height, width = one.result_hw
    target = np.empty((3, width, height), np.uint8) if one.transpose else out  # the kernel does not rotate
    table, values = normalization or (None, None)
    if planar:
        for c in range(3):
            plane = (None, None) if table is None or values is None else (table[c : c + 1], values[c : c + 1])
            _run_rows(pixels[c], 1, False, one, (target[c : c + 1], *plane), share)
    elif pixels.ndim == 2:
        _run_rows(pixels, 1, False, one, (target[:1], None, None), share)
        target[1:] = target[0]
    else:
        is_reversed = pixels.shape[2] == 3 and pixels.strides[2] < 0
        pixels = pixels[..., ::-1] if is_reversed else pixels
        _run_rows(pixels, pixels.shape[2], is_reversed, one, (target, table, values), share)
    if one.transpose:
        for plane, rotated in zip(target, out, strict=True):
            cv2.transpose(plane, rotated)
    return out


def _run_rows(
    pixels: UInt8Array,
    step: int,
    is_reversed: bool,
    one: CompiledPass,
    target: tuple[Any, Any, Any],
    share: Share | None,
) -> None:  # Any: arrays or None, as the kernel takes them
    packed = _packed(pixels)
    blank = _blank(packed)

    def run(begin: int, end: int) -> None:
        resample_rows(packed, step, is_reversed, blank, *one.rows, *one.columns, one.ties_up, begin, end, *target)

    run_in_parts(run, len(one.rows.own), share if packed.size >= _MIN_SHARED_BYTES else None)


def run_in_parts(run: Callable[[int, int], None], rows: int, share: Share | None) -> None:
    """Call `run` with the first row and the end of each part of the result rows; None: of all of them at once."""
    if share is None:
        run(0, rows)
        return
    parts = min(_PARTS, -(-rows // BLOCK))
    bounds = [BLOCK * round(part * rows / parts / BLOCK) for part in range(parts)] + [rows]
    share(lambda part: run(bounds[part], bounds[part + 1]), parts)


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
