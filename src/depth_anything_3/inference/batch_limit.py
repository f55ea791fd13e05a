"""Maximum batch size per image size: fixed, or measured: from free GPU memory, or from the time on a CPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.batch_store import BatchStore
from depth_anything_3.inference.batch_trial import MAX_TRIED, TRIAL_IMAGES, BatchTrial
from depth_anything_3.inference.options import BatchOptions
from depth_anything_3.runtime.memory import available_memory

__all__ = ["BatchLimit", "parse_batch_size"]

logger = logging.getLogger(__name__)

Size = tuple[int, int]

_EXPECTED = 16  # images: estimate of "auto" before anything is measured
_CPU_BYTES_PER_PIXEL = 8_000  # of the network's input; measured at most 5,000, with da3-large


class BatchLimit:
    """Maximum number of images of a size in a batch. Read by the pipeline's thread, updated by the network's.

    With "auto" on CUDA the first image of a size is computed alone and measured; later batches are as large as the
    remaining memory allows. On a CPU "auto" is what was fastest per image in a `BatchTrial` of an earlier run or of
    this one, if memory is estimated to hold it; 1 where the images may come from a slow source, or are too few to try.
    On other devices "auto" is 1. A batch that still runs out of memory halves the limit of its size, whether it was
    given or measured.

    Args:
        options: batch size, or the bounds for "auto".
        device: device of the network.
        store: batch sizes measured on this CPU; None: "auto" on a CPU is 1.
        ready: number of images that can be read without waiting for them.

    Attributes:
        expected: an estimate of the limit before anything is measured.
    """

    def __init__(
        self, options: BatchOptions, device: torch.device, store: BatchStore | None = None, ready: int = 0
    ) -> None:
        self._auto = options.batch_size == "auto"
        self._given = 1 if self._auto else int(options.batch_size)
        self._device = device
        self._max = options.max_batch_size
        self._utilization = options.target_memory_utilization
        self.expected = min(self._max, _EXPECTED) if self._auto and device.type == "cuda" else self._given
        self._store = store if self._auto and device.type == "cpu" else None
        self._tries = ready >= TRIAL_IMAGES
        self._trials: dict[Size, BatchTrial] = {}
        self._known: dict[Size, int] = {}
        self._failed: dict[Size, int] = {}
        self._lock = threading.Lock()

    def __call__(self, size: Size) -> int:
        """Return the limit for results of (height, width)."""
        with self._lock:
            if size not in self._known and size not in self._trials and self._store is not None:
                self._begin(size, self._store)
            return self._trials[size].candidate if size in self._trials else self._known.get(size, self._given)

    def _begin(self, size: Size, store: BatchStore) -> None:
        """Use the batch size that was measured on this CPU, or begin to measure it."""
        bound = min(self._max, self._failed.get(size, self._max), self._held_by_host(size))
        stored = store.get(size)
        if stored is not None:
            self._known[size] = min(stored, bound)
        elif self._tries and bound > 1:
            self._trials[size] = BatchTrial(bound)
        else:
            self._known[size] = 1

    def _held_by_host(self, size: Size) -> int:
        """Return how many images the share of the available memory is estimated to hold, at least 1."""
        return max(1, int((available_memory() or 0) * self._utilization) // (_CPU_BYTES_PER_PIXEL * size[0] * size[1]))

    def timed(self, size: Size, count: int, seconds: float) -> None:
        """Learn from the time that the CPU took for `count` images."""
        with self._lock:
            trial = self._trials.get(size)
            if trial is None:
                return
            trial.record(count, seconds)
            if not trial.ended:
                return
            chosen = self._known[size] = self._trials.pop(size).candidate
        logger.info("batch size for %dx%d on this CPU: %d", *size[::-1], chosen)
        may_be_larger_without_bound = min(2 * chosen, MAX_TRIED) > self._max
        if self._store is not None and not may_be_larger_without_bound:
            self._store.put(size, chosen)

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
            self._trials.pop(size, None)
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
