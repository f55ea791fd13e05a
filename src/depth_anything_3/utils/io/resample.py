"""Stored pixels and a plan in, the network's picture out: uint8, channels first, upright, resized and cropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import cv2
import numba
import numpy as np
import numpy.typing as npt
from numba.core.caching import FunctionCache

from depth_anything_3.utils.io.banded_operator import BandedOperator, ResamplePass
from depth_anything_3.utils.io.resize_plan import Interpolation, ResizePlan

__all__ = ["CompiledOperator", "CompiledPass", "compile_passes", "resample", "resample_stepwise"]

UInt8Array = npt.NDArray[np.uint8]
CompiledOperator = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


class CompiledPass:
    """A `ResamplePass` in the form the kernel reads: float32 weights, contiguous.

    Attributes:
        rows, columns: start, count and weights of each operator.
        result_hw: (height, width) of the pass's result, upright.
        transpose, ties_up: as in `ResamplePass`.
    """

    __slots__ = ("columns", "result_hw", "rows", "ties_up", "transpose")

    def __init__(self, source: ResamplePass) -> None:
        self.rows = _compiled(source.rows)
        self.columns = _compiled(source.columns)
        self.transpose = source.transpose
        self.ties_up = source.ties_up
        height, width = len(source.rows.start), len(source.columns.start)
        self.result_hw = (width, height) if source.transpose else (height, width)


def _compiled(operator: BandedOperator) -> CompiledOperator:
    return (
        np.ascontiguousarray(operator.start),
        np.ascontiguousarray(operator.count),
        np.ascontiguousarray(operator.weights, dtype=np.float32),
    )


def compile_passes(passes: Sequence[ResamplePass]) -> tuple[CompiledPass, ...]:
    """Round each pass's weights once to the kernel's precision."""
    return tuple(CompiledPass(one) for one in passes)


def resample(
    pixels: UInt8Array, passes: Sequence[CompiledPass], *, planar: bool = False, out: UInt8Array | None = None
) -> UInt8Array:
    """Carry out a plan on the CPU, on one core, without holding the interpreter lock.

    Within 1 level of the reference (two OpenCV resizes with a rounding between); 8 to 18 % of samples differ by that
    level when two area steps are fused, next to none otherwise.

    Args:
        pixels: (H, W, 3), (H, W, 4) or (H, W) uint8 as stored; alpha is dropped, grey repeated. With `planar`,
            (3, H, W). A view with reversed channels (`bgr[..., ::-1]`) is read without a copy.
        passes: of the plan made for this size.
        out: (3, height, width) uint8 to write to.

    Returns:
        (3, height, width) uint8 RGB, upright; `out` if that was given.
    """
    for one in passes[:-1]:
        pixels = _run_pass(pixels, one, planar, None)
        planar = True
    return _run_pass(pixels, passes[-1], planar, out)


def _run_pass(pixels: UInt8Array, one: CompiledPass, planar: bool, out: UInt8Array | None) -> UInt8Array:
    if out is None:
        out = np.empty((3, *one.result_hw), np.uint8)
    target = out.transpose(0, 2, 1) if one.transpose else out  # the kernel works in the stored frame
    if planar:
        for source, plane in zip(pixels, target, strict=True):
            _kernel(_packed(source), 1, *one.rows, *one.columns, one.ties_up, plane[None])
    elif pixels.ndim == 2:
        _kernel(_packed(pixels), 1, *one.rows, *one.columns, one.ties_up, target[:1])
        out[1:] = out[0]
    else:
        if pixels.shape[2] == 3 and pixels.strides[2] < 0:
            pixels, target = pixels[..., ::-1], target[::-1]
        _kernel(_packed(pixels), pixels.shape[2], *one.rows, *one.columns, one.ties_up, target)
    return out


def _packed(pixels: UInt8Array) -> UInt8Array:
    """Rows of contiguous samples, (H, W * channels); always read-only, which the kernel is compiled for."""
    packed: UInt8Array = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view()
    packed.flags.writeable = False
    return packed


def resample_stepwise(pixels: UInt8Array, plan: ResizePlan) -> UInt8Array:
    """Carry out a plan as the reference does: one OpenCV resize after the other. The yardstick, not the fast way.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright: of the plan's `source_hw`.

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


class _MendingCache(FunctionCache):
    """Numba's machine code on disk; what a full disk or a power cut damaged there is compiled again."""

    def load_overload(self, signature: object, target_context: object) -> object:
        try:
            return super().load_overload(signature, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # of a damaged file, pickle may raise anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None


def _jit(function: Callable[..., None]) -> Callable[..., None]:
    """Compile on first use, outside the interpreter lock; keep the machine code on disk where that is possible."""
    # Contraction and reassociation let the compiler fuse and vectorise; both stay far below the 8-bit rounding.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    compiled = numba.njit(**options)(function)
    # As `cache=True` does it. There may be no writable folder for it, as in a locked-down container.
    with suppress(RuntimeError):
        compiled._cache = _MendingCache(function)  # type: ignore[no-untyped-call]
    return compiled  # type: ignore[no-any-return]


@_jit
def _blend_rows(source, top, weights, count, line):  # type: ignore[no-untyped-def]
    """One result row over all source columns; four source rows a sweep, to load and store the sum less often."""
    length = line.size
    w0 = weights[0]
    s0 = source[top]
    for i in range(length):
        line[i] = w0 * s0[i]
    k = 1
    while k + 4 <= count:
        w0 = weights[k]
        w1 = weights[k + 1]
        w2 = weights[k + 2]
        w3 = weights[k + 3]
        s0 = source[top + k]
        s1 = source[top + k + 1]
        s2 = source[top + k + 2]
        s3 = source[top + k + 3]
        for i in range(length):
            line[i] += w0 * s0[i] + w1 * s1[i] + w2 * s2[i] + w3 * s3[i]
        k += 4
    while k < count:
        w0 = weights[k]
        s0 = source[top + k]
        for i in range(length):
            line[i] += w0 * s0[i]
        k += 1


@_jit
def _level(value, ties_up):  # type: ignore[no-untyped-def]
    value = min(max(value, np.float32(0.0)), np.float32(255.0))
    return np.uint8(np.floor(value + np.float32(0.5)) if ties_up else np.rint(value))


@_jit
def _kernel(  # type: ignore[no-untyped-def]
    source, step, row_start, row_count, row_weights, col_start, col_count, col_weights, ties_up, out
):
    """Rows first (contiguous, vectorised), then the columns of the one line that is left.

    `source`: (H, W * step) uint8, `step` channels interleaved; `out`: (3 or 1, rows, columns) uint8, any strides.
    """
    line = np.empty(source.shape[1], np.float32)
    zero = np.float32(0.0)
    for y in range(row_start.size):
        _blend_rows(source, row_start[y], row_weights[y], row_count[y], line)
        for x in range(col_start.size):
            i = col_start[x] * step
            red = green = blue = zero
            if out.shape[0] == 3:
                for k in range(col_count[x]):
                    weight = col_weights[x, k]
                    red += weight * line[i]
                    green += weight * line[i + 1]
                    blue += weight * line[i + 2]
                    i += step
                out[1, y, x] = _level(green, ties_up)
                out[2, y, x] = _level(blue, ties_up)
            else:
                for k in range(col_count[x]):
                    red += col_weights[x, k] * line[i + k]
            out[0, y, x] = _level(red, ties_up)
