"""Detect images that a GPU decoder reports as decoded but did not write completely."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["AllocationGuard", "GuardSamples", "OutputGuard"]

_PERIOD = 8  # bytes; one 64-bit fill writes them at the speed of the memory
_SAMPLED_ROWS = 16
_SIZE_CACHE = 64


@dataclass(frozen=True, eq=False)
class GuardSamples:
    """Pixels of decoded images, on their way to the host.

    Attributes:
        pixels: (samples, 3) uint8 in host memory, valid once the stream has reached the end of the copy.
        expected: (samples, 3) uint8, what they are if nothing was written.
        counts: number of samples of each image.
    """

    pixels: torch.Tensor
    expected: npt.NDArray[np.uint8]
    counts: tuple[int, ...]

    def unwritten(self) -> list[bool]:
        """Return for each image whether a sample was not written; call it when the copy is complete."""
        same = (self.pixels.numpy() == self.expected).all(axis=1)
        return [bool(part.any()) for part in np.split(same, np.cumsum(self.counts)[:-1])]


class OutputGuard:
    """Fills a decoder's memory with a random pattern, and finds images that still hold it after decoding.

    Libraries reuse memory, and may report success for an image that they skipped or wrote in part; what is left would
    be an earlier image. Since all of the memory is filled, no earlier image can appear, whatever was not written. What
    is detected are images with an unwritten pixel at the end of one of `_SAMPLED_ROWS` rows, which include the last
    one: skipped images, and those that end early in raster order. One written image in a million looks
    unwritten; it is only decoded again.

    Args:
        device: device of the memory.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        # Bytes that differ, without 0 and 255: no pixel is grey, black or white, as borders are.
        pattern = bytes(random.SystemRandom().sample(range(1, 255), _PERIOD))
        self._pattern = np.frombuffer(pattern, np.uint8)
        self._word = int.from_bytes(pattern, sys.byteorder, signed=True)
        self._bytes = torch.tensor(list(pattern), dtype=torch.uint8, device=device)

        self._expected = lru_cache(maxsize=_SIZE_CACHE)(self._unwritten)

    def wipe(self, memory: torch.Tensor, size: int) -> None:
        """Fill at least the first `size` bytes of (bytes,) uint8 memory, on the current stream."""
        import torch

        size = min(-(-size // _PERIOD) * _PERIOD, memory.numel())
        whole = size // _PERIOD * _PERIOD
        memory[:whole].view(torch.int64).fill_(self._word)
        if whole < size:
            memory[whole:size].copy_(self._bytes[: size - whole])

    def sample(self, images: Sequence[torch.Tensor]) -> GuardSamples:
        """Copy samples to the host, asynchronously from CUDA: two launches for all images.

        Args:
            images: (H, W, 3) uint8 views, interleaved or planar, each at the beginning of memory that was wiped before
                it was decoded.
        """
        import torch

        columns, expected = [], []
        for image in images:
            first, step = _rows(image.shape[0])
            columns.append(_row_ends(image, first, step))
            expected.append(self._expected(image.shape[:2], image.stride()))
        pixels = torch.cat(columns)
        if pixels.is_cuda:
            pixels = torch.empty_like(pixels, device="cpu", pin_memory=True).copy_(pixels, non_blocking=True)
        return GuardSamples(pixels, np.concatenate(expected), tuple(len(one) for one in columns))

    def _unwritten(self, size: tuple[int, int], strides: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        """Return the samples of an image of (height, width) that was not written, (samples, 3)."""
        first, step = _rows(size[0])
        rows = np.arange(first, size[0], step) * strides[0]
        columns = np.arange(size[1] - 3, size[1]) if _on_diagonal(size[1], strides[2]) else np.repeat(size[1] - 1, 3)
        offsets = rows[:, None] + columns * strides[1] + np.arange(3) * strides[2]
        return np.asarray(self._pattern[offsets % _PERIOD], np.uint8)


class AllocationGuard(OutputGuard):
    """An `OutputGuard` for libraries that allocate their outputs from torch on the current stream.

    Torch gives freed memory to the next request of that size. So memory is allocated, wiped and freed before the
    library is called; an output at another address is not guarded.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._device = device

    def wipe_next(self, sizes: Sequence[tuple[int, int]]) -> dict[int, int]:
        """Wipe the memory that images of these (height, width) will get; return address -> wiped bytes."""
        blocks = [self._allocate(3 * height * width) for height, width in sizes]
        for block in blocks:
            self.wipe(block, block.numel())
        return {block.data_ptr(): block.numel() for block in blocks}

    def _allocate(self, size: int) -> torch.Tensor:
        import torch

        return torch.empty(size, dtype=torch.uint8, device=self._device)


def _on_diagonal(width: int, channel_stride: int) -> bool:
    """Say whether the samples of the three channels are taken from the last three pixels, and not from the last one.

    In planar memory the pattern may be the same in two planes, so that a grey pixel could look unwritten.
    """
    return width >= 3 and channel_stride % (_PERIOD // 2) == 0


def _row_ends(image: torch.Tensor, first: int, step: int) -> torch.Tensor:
    """Return a sample of each channel at the end of the rows `first`, `first + step` and so on, (samples, 3)."""
    if _on_diagonal(image.shape[1], image.stride(2)):
        return image[first::step, -3:].diagonal(dim1=1, dim2=2)
    return image[first::step, -1]


def _rows(height: int) -> tuple[int, int]:
    """Return the first sampled row and the step to the next; the last one is the image's last row."""
    step = -(-height // _SAMPLED_ROWS)
    return (height - 1) % step, step
