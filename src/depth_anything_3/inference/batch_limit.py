"""Maximum batch size per image size: fixed, or measured from free GPU memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.options import BatchOptions

__all__ = ["BatchLimit", "parse_batch_size"]

logger = logging.getLogger(__name__)

Size = tuple[int, int]

_EXPECTED = 16  # images: estimate of "auto" before anything is measured


class BatchLimit:
    """Maximum number of images of a size in a batch. Read by the pipeline's thread, updated by the network's.

    With "auto" on CUDA the first image of a size is computed alone and measured; later batches are as large as the
    remaining memory allows. On other devices "auto" is 1. A batch that still runs out of memory halves the limit of
    its size, whether it was given or measured.

    Args:
        options: batch size, or the bounds for "auto".
        device: device of the network.

    Attributes:
        expected: an estimate of the limit before anything is measured.
    """

    def __init__(self, options: BatchOptions, device: torch.device) -> None:
        self._auto = options.batch_size == "auto"
        self._given = 1 if self._auto else int(options.batch_size)
        self._device = device
        self._max = options.max_batch_size
        self._utilization = options.target_memory_utilization
        self.expected = min(self._max, _EXPECTED) if self._auto and device.type == "cuda" else self._given
        self._known: dict[Size, int] = {}
        self._failed: dict[Size, int] = {}
        self._lock = threading.Lock()

    def __call__(self, size: Size) -> int:
        """Return the limit for results of (height, width)."""
        with self._lock:
            return self._known.get(size, self._given)

    @contextmanager
    def measured(self, size: Size, count: int) -> Iterator[None]:
        """Measure the memory that the network takes for `count` images inside the block."""
        if not self._auto or self._device.type != "cuda":
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        free, _ = torch.cuda.mem_get_info(self._device)
        cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        self.learn(size, count, torch.cuda.max_memory_allocated(self._device) - before, free + cached)

    def learn(self, size: Size, count: int, used: int, available: int) -> None:
        """Set a size's limit from the peak bytes that `count` images used and the bytes available."""
        each = max(1, used // count)
        fitting = max(1, min(self._max, int(available * self._utilization) // each))
        with self._lock:
            self._known[size] = min(fitting, self._failed.get(size, self._max))

    def fail(self, size: Size, count: int) -> None:
        """Halve the limit: memory ran out for `count` images."""
        with self._lock:
            self._failed[size] = self._known[size] = smaller = max(1, count // 2)
        logger.warning("out of memory for %d images of %dx%d: batch size is now %d", count, *size[::-1], smaller)


def parse_batch_size(text: str, count: int) -> int | Literal["auto"]:
    """Parse a batch size from the command line: a number, "auto", or "all" of `count` images.

    Raises:
        InvalidInputError: it is none of these.
    """
    if text == "all":
        return max(1, count)
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"batch_size={text!r}: give a whole number, 1 or more, 'auto' or 'all'") from None
