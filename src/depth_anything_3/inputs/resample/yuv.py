"""Resample the planes of YUV frames on the CPU, and convert the result to RGB."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.plan.banded_operator import BandedOperator, ResamplePass, resample_passes
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan
from depth_anything_3.inputs.resample.cpu import CompiledPass, Normalization, Share, compile_passes, run_in_parts
from depth_anything_3.inputs.resample.cpu_kernel import resample_yuv_rows
from depth_anything_3.inputs.resample.normalize import normalize
from depth_anything_3.inputs.yuv_planes import YuvPlanes

__all__ = ["CompiledPlanes", "compile_planes", "planes_suffice", "resample_planes"]

UInt8Array = npt.NDArray[np.uint8]

_MIN_SHARED_BYTES = 500_000  # of planes, as for RGB


class CompiledPlanes(NamedTuple):
    """The pass over luma, and that over chroma, whose operators begin with its enlargement to the size of luma."""

    luma: CompiledPass
    chroma: CompiledPass


def planes_suffice(plan: ResizePlan, fidelity: Fidelity) -> bool:
    """Whether resampling planes reaches a fidelity: where an image is reduced, and rounding is not to be matched."""
    return fidelity is not Fidelity.EXACT and bool(plan.steps) and plan.steps[0].interpolation is Interpolation.AREA


def compile_planes(plan: ResizePlan, linear_rows: bool) -> CompiledPlanes:
    """Convert a plan that `planes_suffice` for to the operators of luma and chroma; `linear_rows` as in `YuvPlanes`."""
    (luma,) = resample_passes(plan)
    height, width = plan.stored_hw
    rows = (BandedOperator.doubled_linearly if linear_rows else BandedOperator.doubled)(height // 2)
    chroma = ResamplePass(rows.then(luma.rows), BandedOperator.doubled(width // 2).then(luma.columns), luma.transpose)
    return CompiledPlanes(*compile_passes((luma, chroma)))


def resample_planes(
    planes: YuvPlanes,
    compiled: CompiledPlanes,
    *,
    out: UInt8Array | None = None,
    normalization: Normalization | None = None,
    share: Share | None = None,
) -> UInt8Array:
    """Resample a frame and convert it to RGB, without holding the interpreter lock.

    Samples are rounded once, at the end. Against conversion at full size, `resample` with `exact` pixels: 51 dB and
    more on photos.

    Args:
        planes: the frame.
        compiled: of the plan for this size, with the same `linear_rows`.
        out, normalization, share: as for `resample`.

    Returns:
        (3, height, width) uint8 RGB, upright; `out` if given.
    """
    luma, chroma = compiled
    height, width = luma.result_hw
    if out is None:
        out = np.empty((3, height, width), np.uint8)
    target = np.empty((3, width, height), np.uint8) if luma.transpose else out
    inside = None if luma.transpose else normalization
    table, values = inside or (None, None)
    y, u, *_ = sources = [_readable(one) for one in (planes.luma, *planes.chroma)]
    step = 2 if planes.is_interleaved else 1
    blank = tuple(_readable(np.zeros(one.shape[1], np.uint8)) for one in (y, u))
    operators = (*luma.rows, *luma.columns), (*chroma.rows, *chroma.columns)
    colors = planes.colors.astype(np.float32)

    def run(begin: int, end: int) -> None:
        resample_yuv_rows(y, u, sources[-1], step, blank, *operators, colors, begin, end, target, table, values)

    run_in_parts(run, len(luma.rows.own), share if y.size >= _MIN_SHARED_BYTES else None)
    if luma.transpose:
        for plane, rotated in zip(target, out, strict=True):
            cv2.transpose(plane, rotated)
        if normalization is not None:
            normalize(out, normalization.table, normalization.values)
    return out


def _readable(plane: UInt8Array) -> UInt8Array:
    """Return contiguous rows, read-only because the kernel is compiled for that."""
    view: UInt8Array = np.ascontiguousarray(plane).view()
    view.flags.writeable = False
    return view
