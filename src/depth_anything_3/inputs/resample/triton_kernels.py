"""Triton kernels that apply banded operators, round and normalise.

Nothing is tuned at run time: tile sizes are constants of the caller, and integers are never specialised, so a new image
size compiles nothing.
"""
# mypy: disable-error-code="no-untyped-def,import-untyped,untyped-decorator"
# ruff: noqa: ANN001, ANN201, ANN202 - compiled functions

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["INTERPRETED", "blend_columns", "blend_rows", "normalize_levels"]


@triton.jit
def _to_float(value, OFFSET: tl.constexpr):
    # Subtracts the offset. Converts through the mantissa's low bits, because integer conversion units are slower.
    return (value.to(tl.uint32) | 0x4B000000).to(tl.float32, bitcast=True) - (8388608.0 + OFFSET)


@triton.jit
def _bytes_to_float(value, ASSEMBLY: tl.constexpr):
    if ASSEMBLY:  # the same in two instructions per sample; the compiler needs three
        return tl.inline_asm_elementwise(
            """
            prmt.b32 $0, $4, 0x4B000000, 0x7440;
            prmt.b32 $1, $4, 0x4B000000, 0x7441;
            prmt.b32 $2, $4, 0x4B000000, 0x7442;
            prmt.b32 $3, $4, 0x4B000000, 0x7443;
            sub.f32 $0, $0, 0f4B000000;
            sub.f32 $1, $1, 0f4B000000;
            sub.f32 $2, $2, 0f4B000000;
            sub.f32 $3, $3, 0f4B000000;
            """,
            constraints="=&r,=&r,=&r,=&r,r",
            args=[value],
            dtype=tl.float32,
            is_pure=True,
            pack=4,
        )
    else:  # an explicit branch: code after a return would be compiled as well
        return _to_float(value, 0)


@triton.jit
def _store_row(target, total, stored, SCALE: tl.constexpr, OFFSET: tl.constexpr):
    # Adding 2^23 leaves the rounded integer in the last bits.
    bits = (total * SCALE + (OFFSET + 8388608.0)).to(tl.uint32, bitcast=True)
    tl.store(target, bits.to(tl.uint16), mask=stored)


@triton.jit(
    do_not_specialize=["row_step", "plane_step", "length", "width", "pitch", "blocks", "weight_step", "middle_rows"]
)
def blend_rows(
    sources,  # (B,) int64 addresses of uint8 images
    middle,  # (B, 3, middle_rows, pitch) uint16
    first,  # (groups,) int32: first source row of ROWS result rows
    count,  # (groups,) int32: number of source rows they need
    weights,  # (groups, weight_step, ROWS) float32
    row_step,  # these three in units of ALIGN bytes
    plane_step,
    length,
    width,  # in pixels
    pitch,  # in units of 16 samples
    blocks,  # of columns
    weight_step,
    middle_rows,
    STEP: tl.constexpr,  # stride between pixels: 3 or 4 if interleaved, 1 if planar
    ALIGN: tl.constexpr,
    ROWS: tl.constexpr,  # 2 or 4
    BLOCK: tl.constexpr,
    SCALE: tl.constexpr,
    OFFSET: tl.constexpr,
    ASSEMBLY: tl.constexpr,
):
    """Blend the rows of images into `middle`, which is planar with samples `OFFSET + SCALE * level`."""
    group = tl.program_id(0) // blocks
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2).to(tl.int64)  # 0 if interleaved
    sample = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = sample < length * ALIGN
    weights += group.to(tl.int64) * weight_step * ROWS
    rows = tl.load(count + group)

    address = tl.load(sources + image) + channel * plane_step * ALIGN
    address += tl.load(first + group).to(tl.int64) * row_step * ALIGN
    line = tl.multiple_of(address.to(tl.pointer_type(tl.uint8)), ALIGN)

    sum_0 = tl.full((BLOCK,), 0.0, tl.float32)
    sum_1 = tl.full((BLOCK,), 0.0, tl.float32)
    sum_2 = tl.full((BLOCK,), 0.0, tl.float32)
    sum_3 = tl.full((BLOCK,), 0.0, tl.float32)
    for row in tl.range(0, rows, loop_unroll_factor=4):
        value = _bytes_to_float(tl.load(line + sample, mask=inside, other=0), ASSEMBLY)
        line += row_step * ALIGN
        sum_0 += tl.load(weights + row * ROWS) * value
        sum_1 += tl.load(weights + row * ROWS + 1) * value
        if ROWS == 4:
            sum_2 += tl.load(weights + row * ROWS + 2) * value
            sum_3 += tl.load(weights + row * ROWS + 3) * value

    # Interleaved samples are separated here: scattered stores are cheap for the few rows that remain.
    step = pitch * 16
    area = middle_rows.to(tl.int64) * step
    middle += image * 3 * area + (group * ROWS).to(tl.int64) * step
    if STEP == 1:
        target = middle + channel * area + sample
        stored = sample < step
    else:
        target = middle + (sample % STEP) * area + sample // STEP
        stored = (sample // STEP < width) & (sample % STEP < 3)
    _store_row(target, sum_0, stored, SCALE, OFFSET)
    _store_row(target + step, sum_1, stored, SCALE, OFFSET)
    if ROWS == 4:
        _store_row(target + 2 * step, sum_2, stored, SCALE, OFFSET)
        _store_row(target + 3 * step, sum_3, stored, SCALE, OFFSET)


@triton.jit(
    do_not_specialize=["pitch", "chunks", "rows", "columns", "middle_rows", "blocks", "row_step", "column_step", "up"]
)
def blend_columns(
    middle,  # (B, 3, middle_rows, pitch) uint16
    slots,  # (B,) int64
    first,  # (columns,) int32: first sample of each column's band, in units of ALIGN
    weights,  # (columns, chunks * CHUNK) float32, divided by the scale
    levels,  # (3, 256) of the dtype of `normalized`
    pixels,  # (N, 3, ...) uint8
    normalized,  # the same shape
    pitch,  # in units of 16 samples
    chunks,
    rows,
    columns,
    middle_rows,
    blocks,  # of columns
    row_step,  # of the result, in samples
    column_step,
    up,  # whether ties round up
    ALIGN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHUNK: tl.constexpr,
    OFFSET: tl.constexpr,
    NORMALIZE: tl.constexpr,
):
    """Blend the columns of `middle`, round to 8-bit levels, and store the levels and their normalised values."""
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    top = (tl.program_id(0) // blocks) * ROWS
    image = tl.program_id(1)
    channel = tl.program_id(2)
    row = tl.arange(0, ROWS)
    used = column < columns
    used_rows = top + row < rows
    start = tl.load(first + column, mask=used, other=0) * ALIGN
    middle += ((image * 3 + channel).to(tl.int64) * middle_rows + top) * pitch * 16
    row_start = row * (pitch * 16)

    total = tl.full((ROWS, COLUMNS, CHUNK), 0.0, tl.float32)
    for chunk in range(chunks):
        tap = chunk * CHUNK + tl.arange(0, CHUNK)
        band = column[:, None] * (chunks * CHUNK) + tap[None, :]
        weight = tl.load(weights + band, mask=used[:, None], other=0.0)
        sample = row_start[:, None, None] + (start[:, None] + tap[None, :])[None, :, :]
        bits = tl.load(middle + sample, mask=used_rows[:, None, None], other=0)
        total += weight[None, :, :] * _to_float(bits, OFFSET)
    value = tl.minimum(tl.maximum(tl.sum(total, axis=2), 0.0), 255.0)
    even = (value + 12582912.0) - 12582912.0  # adding 1.5 * 2^23 rounds to an integer, ties to even
    level = tl.where(up != 0, tl.floor(value + 0.5), even).to(tl.int32)

    base = (tl.load(slots + image) * 3 + channel) * rows * columns
    offset = (top + row)[:, None] * row_step + column[None, :] * column_step
    inside = used_rows[:, None] & used[None, :]
    tl.store(pixels + base + offset, level.to(tl.uint8), mask=inside)
    if NORMALIZE:
        tl.store(normalized + base + offset, tl.load(levels + channel * 256 + level), mask=inside)


@triton.jit(do_not_specialize=["quarter"])
def normalize_levels(pixels, slots, levels, normalized, quarter, BLOCK: tl.constexpr):
    """Look up the normalised values of the images in `slots`; `quarter`: a fourth of a channel's samples."""
    channel = tl.program_id(2)
    base = (tl.load(slots + tl.program_id(1)) * 3 + channel) * (quarter * 4)
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < quarter * 4
    level = tl.load(pixels + base + offset, mask=inside, other=0).to(tl.int32)
    tl.store(normalized + base + offset, tl.load(levels + channel * 256 + level), mask=inside)


INTERPRETED = not isinstance(blend_rows, triton.JITFunction)
"""Whether the kernels run in Triton's interpreter, on the CPU."""
