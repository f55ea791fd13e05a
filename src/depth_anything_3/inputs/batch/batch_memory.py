"""Memory of a batch on the CPU, which the workers write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.batch.records import UInt8Array
from depth_anything_3.inputs.resample.cpu import Normalization

__all__ = ["BatchMemory", "Slot", "SlotOf", "joined", "own_slot"]

Array = npt.NDArray[Any]  # Any: uint8 pixels, or normalised values
Table = npt.NDArray[np.float32]


class Slot(NamedTuple):
    """Memory of one image: `levels` (3, H, W) uint8, and where its normalised values go, if any."""

    levels: UInt8Array
    normalization: Normalization | None


SlotOf = Callable[[int, tuple[int, int]], "Slot | None"]
"""Returns the memory for an image, given its index and (height, width); None: the worker allocates it."""


class BatchMemory:
    """Contiguous memory for images of one size; the size is that of the first image to arrive.

    Args:
        count: number of images.
        table: table of normalised values, see `normalized_levels`; None: pixels only.
    """

    def __init__(self, count: int, table: Table | None) -> None:
        self._count, self._table = count, table
        self._lock = threading.Lock()
        self._levels: UInt8Array | None = None
        self._values: Array | None = None

    def slot(self, index: int, size: tuple[int, int]) -> Slot | None:
        """Return the memory of image `index`; None if it has another size, or memory runs out."""
        with self._lock:
            if self._levels is None:
                shape = (self._count, 3, *size)
                try:
                    self._values = None if self._table is None else np.empty(shape, self._table.dtype)
                    self._levels = np.empty(shape, np.uint8)
                except MemoryError:  # raised again where the batch is assembled, which can free some
                    return None
        if self._levels.shape[2:] != size:
            return None
        if self._table is None or self._values is None:
            return Slot(self._levels[index], None)
        return Slot(self._levels[index], Normalization(self._table, self._values[index]))


def own_slot(table: Table) -> SlotOf:
    """Return a function that allocates each image's memory by itself."""
    return lambda _index, size: BatchMemory(1, table).slot(0, size)


def joined(arrays: Sequence[Array]) -> Array:
    """Return images as one contiguous array (N, ...): without a copy if they are all those of a `BatchMemory`.

    Args:
        arrays: of one shape, in the order of their indices.
    """
    whole = arrays[0].base
    if whole is not None and len(whole) == len(arrays) and all(one.base is whole for one in arrays):
        return whole
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
