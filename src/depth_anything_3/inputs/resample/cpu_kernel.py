"""The compiled kernels of banded operators on the CPU.

Result rows are computed eight at a time. Source rows are blended first, sample by sample; then the eight blended rows
are interleaved, so that blending their columns takes whole vectors of eight rows; then they are separated again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from depth_anything_3.inputs.compiled import jit

__all__ = ["BLOCK", "ROWS_PER_SWEEP", "resample_rows", "resample_yuv_rows"]

ROWS_PER_SWEEP = 4
BLOCK = 8  # result rows
_ZERO, _MAX_LEVEL = np.float32(0.0), np.float32(255.0)


@jit
def resample_rows(  # type: ignore[no-untyped-def]
    source, step, is_reversed, blank, which, alone, own, first, length, common, runs, col_start, col_taps, col_weights,
    ties_up, begin, end, levels, table, normalized
):  # fmt: skip
    """Compute the result rows `begin` to `end - 1`.

    `source`: (H, W * step) uint8 with `step` interleaved channels, of which `levels` takes the first, in reverse order
    if `is_reversed`; `blank`: a row of zeros; `which` to `col_weights`: tables of the operators; `levels`: (channels,
    rows, columns) uint8. Unless `table` is None, `normalized` gets `table[channel, level]`.
    """
    operators = which, alone, own, first, length, common, runs, col_start, col_taps, col_weights
    samples, columns, channels = source.shape[1], col_start.size, levels.shape[0]
    lines = np.empty((BLOCK, samples), np.float32)
    tile = np.empty(BLOCK * samples, np.float32)
    sums = np.empty(BLOCK * columns, np.float32)
    results = np.empty((BLOCK, columns), np.float32)
    for top in range(begin, end, BLOCK):
        block = min(BLOCK, end - top)
        _blend_tile(source, blank, operators, top, block, lines, tile)
        for c in range(channels):
            _blend_columns(tile, operators, step, channels - 1 - c if is_reversed else c, sums)
            _separate(sums, results)
            _store_block(results, ties_up, c, top, block, levels, table, normalized)


@jit
def _blend_rows(source, blank, which, weights, count, first, lengths, common, runs, line):  # type: ignore[no-untyped-def]
    """Blend source rows into one result row: four weighted rows per sweep, or up to eight rows of equal weight.

    The first sweep writes, the others add. A sweep of two rows or three takes no blank ones: half of the time.
    """
    samples = line.size
    if count == 0:
        line[:] = _ZERO
    for k in range(0, count, ROWS_PER_SWEEP):
        left = count - k
        w0 = weights[k]
        w1 = weights[k + 1]
        w2 = weights[k + 2]
        w3 = weights[k + 3]
        s0 = source[which[k]]
        s1 = source[which[k + 1]] if left > 1 else blank
        s2 = source[which[k + 2]] if left > 2 else blank
        s3 = source[which[k + 3]] if left > 3 else blank
        if k == 0:
            if left > 3:
                for i in range(samples):
                    line[i] = w0 * s0[i] + w1 * s1[i] + w2 * s2[i] + w3 * s3[i]
            elif left > 2:
                for i in range(samples):
                    line[i] = w0 * s0[i] + w1 * s1[i] + w2 * s2[i]
            else:
                for i in range(samples):
                    line[i] = w0 * s0[i] + w1 * s1[i]
        elif left > 2:
            for i in range(samples):
                line[i] += w0 * s0[i] + w1 * s1[i] + w2 * s2[i] + w3 * s3[i]
        else:
            for i in range(samples):
                line[i] += w0 * s0[i] + w1 * s1[i]
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
        for i in range(samples):
            # 16-bit sums take 0.6 of the time of weighted floats. The outer cast keeps them at 16 bits.
            total = np.uint16(
                np.uint16(s0[i]) + np.uint16(s1[i]) + np.uint16(s2[i]) + np.uint16(s3[i])
                + np.uint16(s4[i]) + np.uint16(s5[i]) + np.uint16(s6[i]) + np.uint16(s7[i])
            )  # fmt: skip
            line[i] += w0 * np.float32(total)


@jit
def _interleave(lines, tile):  # type: ignore[no-untyped-def]
    """Copy (8, n) lines to (n * 8,). Written out, because the compiler then shuffles whole vectors."""
    l0, l1, l2, l3, l4, l5, l6, l7 = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5], lines[6], lines[7]
    for i in range(lines.shape[1]):
        tile[8 * i] = l0[i]
        tile[8 * i + 1] = l1[i]
        tile[8 * i + 2] = l2[i]
        tile[8 * i + 3] = l3[i]
        tile[8 * i + 4] = l4[i]
        tile[8 * i + 5] = l5[i]
        tile[8 * i + 6] = l6[i]
        tile[8 * i + 7] = l7[i]


@jit
def _separate(tile, lines):  # type: ignore[no-untyped-def]
    """Copy (n * 8,) to (8, n) lines, like `_interleave`."""
    l0, l1, l2, l3, l4, l5, l6, l7 = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5], lines[6], lines[7]
    for i in range(lines.shape[1]):
        l0[i] = tile[8 * i]
        l1[i] = tile[8 * i + 1]
        l2[i] = tile[8 * i + 2]
        l3[i] = tile[8 * i + 3]
        l4[i] = tile[8 * i + 4]
        l5[i] = tile[8 * i + 5]
        l6[i] = tile[8 * i + 6]
        l7[i] = tile[8 * i + 7]


@intrinsic
def _blend_block(  # type: ignore[no-untyped-def]
    _context, tile, first, stride, weights, count, sums, place
):  # fmt: skip
    """Set `sums[place + r]` to the sum over k of `weights[k] * tile[first + k * stride + r]`, for r from 0 to 7.

    As a loop it is not vectorised: the compiler unrolls loops of eight steps before it looks for vectors.
    """
    signature = types.void(tile, first, stride, weights, count, sums, place)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # Any: parts of the compiler
        def pointer(position: int) -> Any:
            array = cgutils.create_struct_proxy(signature.args[position])
            return array(context, builder, value=arguments[position]).data

        source, factors, target = pointer(0), pointer(3), pointer(5)
        offset, step, taps, result = (arguments[position] for position in (1, 2, 4, 6))
        vector = ir.VectorType(ir.FloatType(), BLOCK)
        first_lanes = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * BLOCK))
        with cgutils.for_range(builder, taps, intp=taps.type) as loop:
            at = builder.gep(source, [builder.add(offset, builder.mul(loop.index, step))])
            values = builder.load(builder.bitcast(at, vector.as_pointer()), align=4)
            factor = builder.load(builder.gep(factors, [loop.index]))
            lane = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
            repeated = builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), first_lanes)
            product = builder.fmul(repeated, values, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        target = builder.bitcast(builder.gep(target, [result]), vector.as_pointer())
        builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@jit
def _store_block(results, ties_up, channel, top, block, levels, table, normalized):  # type: ignore[no-untyped-def]
    """Write the rows `top` to `top + block - 1` of a channel: levels, and unless `table` is None their values."""
    for r in range(block):
        row = levels[channel, top + r]
        _store_levels(results[r], ties_up, row)
        if table is not None:
            _look_up(row, table[channel], normalized[channel, top + r])


@jit
def _store_levels(sums, ties_up, levels):  # type: ignore[no-untyped-def]
    """Round to 8 bits: halves to even, or up."""
    for x in range(sums.size):
        value = min(max(sums[x], _ZERO), _MAX_LEVEL)
        levels[x] = np.uint8(np.floor(value + np.float32(0.5)) if ties_up else np.rint(value))


@jit
def _look_up(levels, table, values):  # type: ignore[no-untyped-def]
    for x in range(levels.size):
        values[x] = table[levels[x]]


@jit
def resample_yuv_rows(  # type: ignore[no-untyped-def]
    luma, u, v, step, blank, luma_operators, chroma_operators, colors, begin, end, levels, table, normalized
):  # fmt: skip
    """Compute the result rows `begin` to `end - 1` of a YUV frame in RGB. Nothing is rounded but the result.

    `luma`, `u`, `v`: (H, W) uint8; with `step` 2, `u` and `v` are one array of alternating samples. `blank`: a row of
    zeros for luma and one for chroma; `luma_operators`, `chroma_operators`: seven tables of the rows, three of the
    columns; `colors`: (3, 4) float32; `levels`, `table`, `normalized`: as for `resample_rows`.
    """
    columns = levels.shape[2]
    sums = np.empty((4, BLOCK * columns), np.float32)
    y_sums, u_sums, v_sums, mixed = sums[0], sums[1], sums[2], sums[3]
    luma_lines = np.empty((BLOCK, luma.shape[1]), np.float32)
    chroma_lines = np.empty((BLOCK, u.shape[1]), np.float32)
    tile = np.empty(BLOCK * max(luma.shape[1], u.shape[1]), np.float32)
    results = np.empty((BLOCK, columns), np.float32)
    for top in range(begin, end, BLOCK):
        block = min(BLOCK, end - top)
        _blend_tile(luma, blank[0], luma_operators, top, block, luma_lines, tile)
        _blend_columns(tile, luma_operators, 1, 0, y_sums)
        _blend_tile(u, blank[1], chroma_operators, top, block, chroma_lines, tile)
        _blend_columns(tile, chroma_operators, step, 0, u_sums)
        if step == 1:
            _blend_tile(v, blank[1], chroma_operators, top, block, chroma_lines, tile)
        _blend_columns(tile, chroma_operators, step, step - 1, v_sums)
        for c in range(3):
            of_y, of_u, of_v, constant = colors[c, 0], colors[c, 1], colors[c, 2], colors[c, 3]
            for i in range(mixed.size):
                mixed[i] = of_y * y_sums[i] + of_u * u_sums[i] + of_v * v_sums[i] + constant
            _separate(mixed, results)
            _store_block(results, False, c, top, block, levels, table, normalized)


@jit
def _blend_tile(source, blank, operators, top, block, lines, tile):  # type: ignore[no-untyped-def]
    """Blend source rows into the result rows `top` to `top + block - 1`, interleaved."""
    which, alone, own, first, length, common, runs = operators[:7]
    for r in range(block):
        y = top + r
        _blend_rows(source, blank, which[y], alone[y], own[y], first[y], length[y], common[y], runs[y], lines[r])
    _interleave(lines, tile)


@jit
def _blend_columns(tile, operators, step, channel, sums):  # type: ignore[no-untyped-def]
    """Blend the columns of one channel of an interleaved block of rows."""
    start, taps, weights = operators[7:]
    for x in range(start.size):
        _blend_block(  # type: ignore[call-arg]  # an intrinsic takes the compiler's context too
            tile, BLOCK * (start[x] * step + channel), BLOCK * step, weights[x], taps[x], sums, BLOCK * x
        )
