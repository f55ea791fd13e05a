"""A picture's size in, how many of that size are computed together out: given, or told by the GPU's memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.choice import positive_int

__all__ = ["BatchLimit", "parse_batch_size"]

logger = logging.getLogger(__name__)

Size = tuple[int, int]

_DEFAULT_BATCH_SIZE = 16  # pictures: what "auto" is taken to become before anything is measured


class BatchLimit:
    """Most pictures of a size in a batch. Asked in the pipeline's thread, told in the network's.

    With "auto" on CUDA the first picture of a size is computed alone and measured; from then on as many go together as
    fit into the memory that is left. On other devices "auto" is one at a time. A batch for which memory runs out all
    the same halves the limit of its size, whatever it came from.

    Args:
        batch_size: a number, or "auto".
        device: where the network is.
        most: upper bound of "auto".
        utilization: share of the free memory that "auto" may fill, above 0 and at most 1.

    Attributes:
        expected: what the limit will about be.

    Raises:
        InvalidInputError: one of these is not accepted.
    """

    def __init__(
        self, batch_size: int | str, device: torch.device, *, most: int = 64, utilization: float = 0.85
    ) -> None:
        self._auto = batch_size == "auto"
        hint = "give a whole number, 1 or more, or 'auto'"
        self._given = 1 if self._auto else positive_int("batch_size", batch_size, hint=hint)
        positive_int("max_batch_size", most)
        if not 0 < utilization <= 1:
            raise InvalidInputError(f"target_memory_utilization={utilization!r}: give a share above 0 and at most 1")
        self.expected = min(most, _DEFAULT_BATCH_SIZE) if self._auto and device.type == "cuda" else self._given
        self._device = device
        self._most = most
        self._utilization = utilization
        self._known: dict[Size, int] = {}
        self._failed: dict[Size, int] = {}
        self._lock = threading.Lock()

    def __call__(self, size: Size) -> int:
        """The limit for results of (height, width)."""
        with self._lock:
            return self._known.get(size, self._given)

    @contextmanager
    def measured(self, size: Size, count: int) -> Iterator[None]:
        """Around the network's work on `count` pictures; learns from it what one takes."""
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
        """Set a size's limit from the bytes that `count` pictures used at most and those that can be had."""
        each = max(1, used // count)
        fitting = max(1, min(self._most, int(available * self._utilization) // each))
        with self._lock:
            self._known[size] = min(fitting, self._failed.get(size, self._most))

    def fail(self, size: Size, count: int) -> None:
        """Memory ran out for `count` pictures: from now on at most half as many."""
        with self._lock:
            self._failed[size] = self._known[size] = max(1, count // 2)
        logger.warning("out of memory for %d pictures of %dx%d: from now on %d", count, size[1], size[0], count // 2)


def parse_batch_size(text: str, count: int) -> int | str:
    """A batch size as it is written on a command line: a number, "auto", or "all" of `count` pictures.

    Raises:
        InvalidInputError: it is none of these.
    """
    if text == "all":
        return max(1, count)
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"batch_size={text!r}: give a whole number, 1 or more, 'auto' or 'all'") from None
