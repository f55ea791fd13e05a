"""Cache of tables that depend only on shapes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

from depth_anything_3.model.tracing import is_tracing

__all__ = ["TableCache"]

T = TypeVar("T")


class TableCache(Generic[T]):
    """Least recently used cache of tables.

    Tables are created outside inference mode and without gradients, so that they can be used in any mode. Under
    `torch.compile`, under `torch.jit.trace` and during the capture of a CUDA graph the cache is bypassed: compiled and
    traced code creates its own tables, and a graph must not refer to memory that may be freed. A copy of a cache is
    empty.

    Args:
        limit: Maximum number of tables.
    """

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._tables: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, device: torch.device, make: Callable[[], T]) -> T:
        """Return the table for `key` on `device`; call `make()` if it is not cached."""
        capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if capturing or torch.compiler.is_compiling() or is_tracing():
            return make()
        # One table per stream, because another stream would not wait for its computation.
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        place = (key, device, stream)
        table = self._tables.pop(place, None)  # a single atomic step, for thread safety
        if table is None:
            with torch.inference_mode(False), torch.no_grad():
                table = make()
        self._tables[place] = table
        while len(self._tables) > self._limit:
            self._tables.popitem(last=False)
        return table

    def __len__(self) -> int:
        return len(self._tables)

    def __reduce__(self) -> tuple[type[TableCache[T]], tuple[int]]:
        return type(self), (self._limit,)
