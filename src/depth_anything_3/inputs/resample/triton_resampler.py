"""Resample images on a CUDA device in two Triton kernel launches.

The first kernel streams the source and blends its rows, which makes a large image 8 to 15 times smaller; the second
blends the columns of the rest, rounds, applies the orientation and normalises. Sums are float32 on the CUDA cores.
Tensor cores would need each weight split into two half-precision parts to be as exact, and dense blocks of column
weights, which are larger than the pixels they apply to: more memory traffic than the arithmetic they would save.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.plan.banded_operator import ResamplePass, resample_passes
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.resample.layout import ImageLayout, chunked_columns, grouped_rows
from depth_anything_3.inputs.resample.normalize import normalized_levels
from depth_anything_3.inputs.resample.triton_kernels import INTERPRETED, blend_columns, blend_rows, normalize_levels

__all__ = ["TritonResampler"]

# Between the kernels a sample is a 16-bit integer in steps of 1/128 level, starting at -64. Cubic weights reach from
# -48 to 303; halves, quarters and eighths, the means that produce ties, are exact. Float32 would double the traffic;
# half precision would be 32 times coarser.
_SCALE = 128
_OFFSET = 64 * _SCALE

_ROWS = (
    2  # result rows per program: more rows share source reads (4K: 1.6 reads at 2, 1.3 at 4) but multiply more zeros
)
_BLOCK = 1024  # samples of a row per program
_COLUMN_ROWS = 8  # the second kernel's tile
_COLUMNS = 32
_CHUNK = 16  # samples of a column's band per iteration; a 4K image needs one chunk
_BAND_ALIGN = 4  # bands start at multiples of this, so that loads are 8 bytes wide
_NORMALIZE_BLOCK = 1024

# Compile-time constants. Without FMA fusion there would be twice as many instructions.
ROWS_CONSTANTS = {"ROWS": _ROWS, "BLOCK": _BLOCK, "SCALE": _SCALE, "OFFSET": _OFFSET}
ROWS_OPTIONS = {
    16: {"num_warps": 2, "enable_fp_fusion": True},  # 16 samples per thread, in one load
    4: {"num_warps": 4, "enable_fp_fusion": True},
    1: {"num_warps": 4, "enable_fp_fusion": True},  # with 2 warps, byte addresses spill registers
}
COLUMNS_CONSTANTS = {
    "ALIGN": _BAND_ALIGN,
    "ROWS": _COLUMN_ROWS,
    "COLUMNS": _COLUMNS,
    "CHUNK": _CHUNK,
    "OFFSET": _OFFSET,
}
COLUMNS_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}

_SCRATCH_BYTES = 64 * 2**20  # maximum between the kernels, unless one image needs more: about ten 4K images
_MAX_GRID_Y = 65535
_PLAN_CACHE_SIZE = 64


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


class _DevicePass:
    """One pass in the kernels' layout, on the device. See the kernels for the arrays."""

    def __init__(self, source: ResamplePass, upload: Callable[[npt.NDArray[Any]], torch.Tensor]) -> None:
        self.rows, self.columns = len(source.rows.start), len(source.columns.start)
        self.transpose, self.ties_up = source.transpose, source.ties_up
        self.row_first, self.row_count, self.row_weights = map(upload, grouped_rows(source.rows, _ROWS))
        first, weights = chunked_columns(source.columns, _BAND_ALIGN, _CHUNK)
        self.column_first = upload(first)
        self.column_weights = upload((weights / _SCALE).astype(np.float32))
        self.chunks = weights.shape[1] // _CHUNK
        self.middle_rows = len(self.row_first) * _ROWS
        self.pitch = _blocks(source.columns.source_size, 16) * 16

    @property
    def result_hw(self) -> tuple[int, int]:
        return (self.columns, self.rows) if self.transpose else (self.rows, self.columns)

    @property
    def middle_samples(self) -> int:
        """Samples of one image between the kernels."""
        return 3 * self.middle_rows * self.pitch


class TritonResampler:
    """Exact resampling with Triton kernels: within one 8-bit level of the CPU kernel; at most 0.2 % of samples differ.

    Kernels compile on first use: at most 9 variants of the first (interleaved by 3 or 4, or planar; aligned to 16, 4 or
    1), 4 of the second (not normalised, float32, bfloat16 or float16) and 3 of the third. One image size needs one of
    each.
    """

    name = "triton"

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._plans: OrderedDict[ResizePlan, tuple[_DevicePass, ...]] = OrderedDict()
        self._levels: dict[torch.dtype, torch.Tensor] = {}

    def __call__(
        self,
        images: Sequence[torch.Tensor],
        plan: ResizePlan,
        slots: Sequence[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        """See `GPUResampler`. Images of one layout share their launches, at any addresses."""
        groups: dict[ImageLayout, list[tuple[torch.Tensor, int]]] = {}
        for image, slot in zip(images, slots, strict=True):
            layout = ImageLayout.of(image)
            if layout is None:
                image = image.contiguous()
                layout = ImageLayout.of(image)
                assert layout
            groups.setdefault(layout, []).append((image, slot))

        with torch.cuda.device_of(pixels):
            passes = self._passes(plan)
            share = max(1, _SCRATCH_BYTES // (2 * max(one.middle_samples for one in passes)))
            share = min(share, _MAX_GRID_Y)
            for layout, members in groups.items():
                for start in range(0, len(members), share):
                    part = members[start : start + share]
                    addresses = [image.data_ptr() for image, _ in part]
                    self._run(addresses, layout, passes, [slot for _, slot in part], pixels, normalized)

    def normalize(self, pixels: torch.Tensor, slots: Sequence[int], normalized: torch.Tensor) -> None:
        """See `GPUResampler.normalize`."""
        quarter, rest = divmod(pixels.shape[2] * pixels.shape[3], 4)
        assert not rest, "sides are multiples of 14"
        with torch.cuda.device_of(pixels):
            for start in range(0, len(slots), _MAX_GRID_Y):
                part = slots[start : start + _MAX_GRID_Y]
                where = self._upload(np.asarray(part, np.int64))
                grid = (_blocks(quarter * 4, _NORMALIZE_BLOCK), len(part), 3)
                normalize_levels[grid](
                    pixels,
                    where,
                    self._levels_in(normalized.dtype),
                    normalized,
                    quarter,
                    BLOCK=_NORMALIZE_BLOCK,
                    **COLUMNS_OPTIONS,
                )

    def _run(
        self,
        addresses: list[int],
        layout: ImageLayout,
        passes: tuple[_DevicePass, ...],
        slots: list[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        for one in passes[:-1]:
            height, width = one.result_hw
            between = torch.empty((len(slots), 3, height, width), dtype=torch.uint8, device=pixels.device)
            self._launch(addresses, layout, one, list(range(len(slots))), between, None)
            addresses = [image.data_ptr() for image in between]
            layout = ImageLayout.at(math.gcd(*addresses), 1, width, height * width, width)
        self._launch(addresses, layout, passes[-1], slots, pixels, normalized)

    def _launch(
        self,
        addresses: list[int],
        layout: ImageLayout,
        one: _DevicePass,
        slots: list[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        # Pad to an even length, so that both rows are 16-byte aligned: otherwise the kernel would compile again.
        table = np.zeros((2, len(addresses) + len(addresses) % 2), np.int64)
        table[:, : len(addresses)] = addresses, slots
        where = self._upload(table)
        # The last row's bands may extend beyond it, with zero weights.
        samples = len(addresses) * one.middle_samples + one.chunks * _CHUNK
        middle = torch.empty(samples, dtype=torch.uint16, device=pixels.device)

        blocks = _blocks(layout.length, _BLOCK)
        blend_rows[(blocks * len(one.row_first), len(addresses), 3 if layout.planar else 1)](
            where[0],
            middle,
            one.row_first,
            one.row_count,
            one.row_weights,
            layout.row_step // layout.align,
            layout.plane_step // layout.align,
            layout.length // layout.align,
            layout.width,
            one.pitch // 16,
            blocks,
            one.row_weights.shape[1],
            one.middle_rows,
            STEP=layout.step,
            ALIGN=layout.align,
            ASSEMBLY=not INTERPRETED,
            **ROWS_CONSTANTS,
            **ROWS_OPTIONS[layout.align],
        )
        row_step, column_step = (1, one.rows) if one.transpose else (one.columns, 1)
        blocks = _blocks(one.columns, _COLUMNS)
        blend_columns[(blocks * _blocks(one.rows, _COLUMN_ROWS), len(addresses), 3)](
            middle,
            where[1],
            one.column_first,
            one.column_weights,
            pixels if normalized is None else self._levels_in(normalized.dtype),
            pixels,
            pixels if normalized is None else normalized,
            one.pitch // 16,
            one.chunks,
            one.rows,
            one.columns,
            one.middle_rows,
            blocks,
            row_step,
            column_step,
            int(one.ties_up),
            NORMALIZE=normalized is not None,
            **COLUMNS_CONSTANTS,
            **COLUMNS_OPTIONS,
        )

    def _passes(self, plan: ResizePlan) -> tuple[_DevicePass, ...]:
        if plan not in self._plans:
            self._plans[plan] = tuple(_DevicePass(one, self._upload) for one in resample_passes(plan))
            if len(self._plans) > _PLAN_CACHE_SIZE:
                self._plans.popitem(last=False)
        self._plans.move_to_end(plan)
        return self._plans[plan]

    def _levels_in(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the (3, 256) table of normalised levels, rounded once to the dtype."""
        if dtype not in self._levels:
            self._levels[dtype] = self._on_device(torch.from_numpy(normalized_levels()).to(dtype))
        return self._levels[dtype]

    def _upload(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return self._on_device(torch.from_numpy(array))

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(
            self._device, non_blocking=True
        )  # a copy from pageable memory would synchronise the stream
