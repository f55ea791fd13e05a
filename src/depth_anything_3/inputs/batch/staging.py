"""Small pictures in the CPU's memory in, the same in the GPU's out: through page-locked memory that is used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Staging"]

_BUFFERS = 2  # one is being copied from while the next is filled


class Staging:
    """Copies pictures to a device without making the caller wait. Not for two threads at once.

    Page-locked memory is expensive to get and the only kind that a GPU copies from by itself, so it is kept; it grows
    to the largest batch seen. Devices other than CUDA take a plain copy.
    """

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._buffers: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def upload(self, pictures: Sequence[npt.NDArray[np.uint8]], slots: Sequence[int], pixels: torch.Tensor) -> None:
        """Copy each picture to its slot, on the current stream.

        Args:
            pictures: (3, H, W) uint8, all of one size.
            slots: place of each in the batch, ascending.
            pixels: (N, 3, H, W) uint8 on the device.
        """
        if not pictures:
            return
        staged = self._take(len(pictures) * pictures[0].size).view(len(pictures), *pictures[0].shape)
        for picture, place in zip(pictures, staged.numpy(), strict=True):
            np.copyto(place, picture)
        numbered = enumerate(slots)
        for _, run in groupby(numbered, key=lambda one: one[1] - one[0]):  # neighbours go in one copy
            places = list(run)
            (first, slot), count = places[0], len(places)
            pixels[slot : slot + count].copy_(staged[first : first + count], non_blocking=self._pinned)
        if self._pinned:
            _, event = self._buffers[-1]
            assert event is not None
            event.record()

    def _take(self, size: int) -> torch.Tensor:
        """`size` bytes that no copy reads any more, at the end of the ring."""
        buffer, event = self._buffers.popleft() if len(self._buffers) == _BUFFERS else (None, None)
        if event is not None:
            event.synchronize()
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=self._pinned)
        if event is None and self._pinned:
            event = torch.cuda.Event()
        self._buffers.append((buffer, event))
        return buffer[:size]
