"""Keep a device busy like a depth network would, in another thread."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import torch
from torch.nn import functional

from depth_anything_3.runtime.devices import default_dtype, synchronize

__all__ = ["NetworkLoad"]

_TIMED_BLOCKS = 16


class NetworkLoad:
    """A sequence of transformer blocks, each about as large as one of ViT-L on an image of 504 pixels.

    On CUDA they run on their own stream, in half precision; elsewhere they are small and in single precision. Results
    are discarded.

    Args:
        device: device to keep busy.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        tokens, width = (1024, 1024) if device.type == "cuda" else (64, 128)
        self._dtype = default_dtype(device)
        self._tokens = self._random(tokens, width)
        self._qkv = self._random(width, 3 * width)
        self._out = self._random(width, width)
        self._up = self._random(width, 4 * width)
        self._down = self._random(4 * width, width)
        synchronize(device)  # the blocks run on another stream
        # An idle thread starts work sooner than a new one, which matters for the shortest times.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="da3-load")
        self.block_seconds = self._time_block()

    def start(self, seconds: float) -> Future[None]:
        """Start work that takes about this long on an idle device; the future is done when the device is."""
        return self._thread.submit(self._compute, max(1, round(seconds / self.block_seconds)))

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> NetworkLoad:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _random(self, rows: int, columns: int) -> torch.Tensor:
        """Draw a random matrix, small enough that no product overflows."""
        return torch.randn(rows, columns, device=self._device, dtype=self._dtype) / math.sqrt(rows)

    def _time_block(self) -> float:
        self._thread.submit(self._compute, _TIMED_BLOCKS).result()  # warms up
        start = time.perf_counter()
        self._thread.submit(self._compute, _TIMED_BLOCKS).result()
        return (time.perf_counter() - start) / _TIMED_BLOCKS

    def _compute(self, blocks: int) -> None:
        with torch.inference_mode(), self._on_stream():
            for _ in range(blocks):
                self._block()
        if self._stream is None:
            synchronize(self._device)
        else:
            self._stream.synchronize()

    def _on_stream(self) -> AbstractContextManager[Any]:  # Any: torch's own context or none
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _block(self) -> torch.Tensor:
        """Run attention with heads of 64 channels, then the two-layer perceptron."""
        tokens, width = self._tokens.shape
        query, key, value = (self._tokens @ self._qkv).view(1, tokens, 3, -1, 64).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(tokens, width)
        mixed = self._tokens + seen @ self._out
        return mixed + functional.gelu(mixed @ self._up) @ self._down
