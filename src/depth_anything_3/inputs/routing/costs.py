"""Measured times of the ways to decode, and what they say about other sizes and batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Cost", "Costs"]


@dataclass(frozen=True)
class Cost:
    """One measurement: decoding, resampling and moving JPEG files of one size to the device.

    Attributes:
        way: "cpu", or the name of a GPU decoder.
        pixels: of each file.
        at_a_time: worker threads for "cpu", files in one call for a GPU decoder.
        alone_ms: per image, nothing else running.
        loaded_ms: per image, while the GPU computes a network-like load that takes as long.
    """

    way: str
    pixels: int
    at_a_time: int
    alone_ms: float
    loaded_ms: float


@dataclass(frozen=True)
class Costs:
    """A table of measurements."""

    table: tuple[Cost, ...]

    def of(self, way: str, pixels: int, at_a_time: int, *, overlapped: bool) -> float | None:
        """Milliseconds per image, or None if this way was not measured.

        Between measured sizes times are interpolated, beyond them they grow with the pixels; of the numbers at a time
        the largest measured one that is not above the one asked for counts, else the smallest.

        Args:
            way, pixels, at_a_time: as in `Cost`.
            overlapped: the network computes meanwhile.
        """
        rows = [one for one in self.table if one.way == way]
        if not rows:
            return None
        counts = {one.at_a_time for one in rows}
        count = max((one for one in counts if one <= at_a_time), default=min(counts))
        points = sorted(
            (one.pixels, one.loaded_ms if overlapped else one.alone_ms) for one in rows if one.at_a_time == count
        )
        sizes, times = zip(*points, strict=True)
        if pixels > sizes[-1]:
            return float(times[-1] * pixels / sizes[-1])
        return float(np.interp(pixels, sizes, times))

    @property
    def ways(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(dict.fromkeys(one.way for one in self.table))

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, object]]) -> Costs:
        """From plain values, as they are stored.

        Raises:
            ValueError, TypeError, KeyError: they are no measurements.
        """
        table = []
        for row in rows:
            way, pixels, at_a_time = row["way"], row["pixels"], row["at_a_time"]
            alone, loaded = row["alone_ms"], row["loaded_ms"]
            whole = isinstance(pixels, int) and isinstance(at_a_time, int) and pixels > 0 and at_a_time > 0
            timed = isinstance(alone, (int, float)) and isinstance(loaded, (int, float)) and alone >= 0 and loaded >= 0
            if not (isinstance(way, str) and whole and timed):
                raise ValueError(f"not a measurement: {row}")
            table.append(Cost(way, pixels, at_a_time, float(alone), float(loaded)))  # type: ignore[arg-type]
        return cls(tuple(table))
