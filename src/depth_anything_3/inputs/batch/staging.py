"""Upload resampled images to the GPU through reusable page-locked buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.runtime.cuda_events import record_event

__all__ = ["Staging"]

_BUFFERS = 2  # one is filled while the other is being copied


class Staging:
    """Copy images to a device asynchronously. Not thread-safe.

    Asynchronous copies need page-locked memory, which is slow to allocate, so the buffers are reused; they grow to the
    largest batch seen. Devices other than CUDA use plain memory and a blocking copy.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pinned = device.type == "cuda"
        self._buffers: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def upload(self, images: Sequence[npt.NDArray[np.uint8]], slots: Sequence[int], pixels: torch.Tensor) -> None:
        """Copy each image to its slot, on the current stream.

        Args:
            images: (3, H, W) uint8 arrays of one size.
            slots: index of each in the batch, ascending.
            pixels: (N, 3, H, W) uint8 tensor on the device to write to.
        """
        if not images:
            return
        staged = self._take(len(images) * images[0].size).view(len(images), *images[0].shape)
        for image, target in zip(images, staged.numpy(), strict=True):
            np.copyto(target, image)
        numbered = enumerate(slots)
        for _, run in groupby(numbered, key=lambda one: one[1] - one[0]):  # one copy per run of adjacent slots
            pairs = list(run)
            (first, slot), count = pairs[0], len(pairs)
            pixels[slot : slot + count].copy_(staged[first : first + count], non_blocking=self._pinned)
        self._buffers[-1] = self._buffers[-1][0], record_event(self._device)

    def _take(self, size: int) -> torch.Tensor:
        """Return a buffer of `size` bytes that no copy is reading, and move it to the end of the ring."""
        buffer, event = self._buffers.popleft() if len(self._buffers) == _BUFFERS else (None, None)
        if event is not None:
            event.synchronize()
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=self._pinned)
        self._buffers.append((buffer, None))
        return buffer[:size]
