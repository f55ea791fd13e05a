"""Tables that depend on shapes alone: a key in, the table made for it the last time out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

__all__ = ["TableCache"]

T = TypeVar("T")


class TableCache(Generic[T]):
    """The tables made last, a bounded number of them.

    Tables are made outside inference mode and without gradients, so that one made in any mode serves in all. Under
    `torch.compile` and while a CUDA graph is captured nothing is kept or taken: the compiled code makes its own, and
    a graph must not refer to memory that may be given back. A copy of a cache is empty.

    Args:
        limit: Most tables kept; the one unused for longest goes first.
    """

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, device: torch.device, make: Callable[[], T]) -> T:
        """The table for `key` on `device`, from `make()` unless it is kept."""
        if torch.compiler.is_compiling() or (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
            return make()
        # Per stream, since another stream would not wait until the table is there.
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        place = (key, device, stream)
        table = self._kept.pop(place, None)  # one step, so that threads do not trip over one another
        if table is None:
            with torch.inference_mode(False), torch.no_grad():
                table = make()
        self._kept[place] = table
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return table

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[type[TableCache[T]], tuple[int]]:
        return type(self), (self._limit,)
