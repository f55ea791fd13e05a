"""Scale samples of any depth to 8 bits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_rgb", "to_8_bits"]

UInt8Array = npt.NDArray[np.uint8]

_ROWS = 64
"""Rows converted at a time, so that temporary arrays stay in the cache."""


def to_8_bits(samples: npt.NDArray[Any], maximum: int) -> UInt8Array:  # Any: unsigned integers of any size
    """Return samples of the range 0 to `maximum` in the range 0 to 255, rounded to the nearest level.

    Args:
        samples: unsigned integers; larger values than `maximum` become 255.
        maximum: value of white, as the file declares it.
    """
    if maximum == 255 and samples.dtype == np.uint8:
        return samples
    if samples.dtype.itemsize > 2:
        result = np.empty(samples.shape, np.uint8)
        for top in range(0, len(samples), _ROWS):
            part = samples[top : top + _ROWS].astype(np.float64)
            result[top : top + _ROWS] = np.rint(np.minimum(part, maximum) * (255.0 / maximum))
        return result
    return np.asarray(_table(maximum, samples.dtype.itemsize)[samples], np.uint8)


@lru_cache(maxsize=32)
def _table(maximum: int, size: int) -> UInt8Array:
    """Return the 8-bit value of each value of an integer of `size` bytes."""
    values = np.minimum(np.arange(1 << (8 * size)), maximum)
    return ((values * 510 + maximum) // (2 * maximum)).astype(np.uint8)


def as_rgb(pixels: UInt8Array) -> UInt8Array:
    """Return contiguous (H, W, 3) from grey (H, W), or from (H, W, C): grey or RGB, then channels that are dropped."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])
