"""Copy encoded files into page-locked memory, which a GPU reads without the driver's own staging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.header import Buffer

if TYPE_CHECKING:
    import torch

__all__ = ["PinnedFiles"]

_BUFFERS = 2  # in turn: the files of the previous call may still be read
_ALIGN = 256  # of a file's first byte


class PinnedFiles:
    """Copies files into reused page-locked buffers. Not thread-safe.

    nvJPEG's hardware backend copies the files to the GPU from where they are. From pageable memory the driver stages
    that copy (https://github.com/NVIDIA/DALI/pull/2655).

    Args:
        device: reads the files; for other devices than CUDA the memory is ordinary.
    """

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._buffers: list[torch.Tensor | None] = [None] * _BUFFERS

    def __call__(self, files: Sequence[Buffer]) -> list[npt.NDArray[np.uint8]]:
        """Copy the files; return each as a uint8 view of the buffer, valid until the call after the next."""
        sources = [np.frombuffer(data, np.uint8) for data in files]
        starts = np.cumsum([0, *(-(-source.size // _ALIGN) * _ALIGN for source in sources)])
        buffer = self._buffers.pop(0)
        if buffer is None or buffer.numel() < starts[-1]:
            import torch

            buffer = torch.empty(int(starts[-1]), dtype=torch.uint8, device="cpu", pin_memory=self._pinned)
        self._buffers.append(buffer)
        memory = buffer.numpy()
        views = [memory[start : start + source.size] for start, source in zip(starts[:-1], sources, strict=True)]
        for view, source in zip(views, sources, strict=True):
            np.copyto(view, source)
        return views
