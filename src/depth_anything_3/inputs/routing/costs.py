"""Measured decode times, interpolated to other image sizes and batch sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Cost", "Costs"]


@dataclass(frozen=True)
class Cost:
    """One measurement of decoding, resampling and transferring JPEG files of one size to the device.

    Attributes:
        decoder: "cpu", or the name of a GPU decoder.
        pixels: number of pixels of each file.
        concurrency: worker threads for "cpu", files per call for a GPU decoder.
        alone_ms: milliseconds per image with nothing else running.
        contended_ms: milliseconds per image while the GPU runs a network-like load of the same duration.
    """

    decoder: str
    pixels: int
    concurrency: int
    alone_ms: float
    contended_ms: float

    def to_row(self) -> dict[str, object]:
        """The measurement as plain values, under the keys of the stored file."""
        return {
            "way": self.decoder,
            "pixels": self.pixels,
            "at_a_time": self.concurrency,
            "alone_ms": self.alone_ms,
            "loaded_ms": self.contended_ms,
        }


@dataclass(frozen=True)
class Costs:
    """A table of measurements."""

    table: tuple[Cost, ...]

    def of(self, decoder: str, pixels: int, concurrency: int, *, overlapped: bool) -> float | None:
        """Estimate milliseconds per image, or None if this decoder was not measured.

        Times are interpolated between measured sizes and scale with the pixel count above the largest one. The
        largest measured concurrency that does not exceed the requested one is used, else the smallest.

        Args:
            decoder, pixels, concurrency: as in `Cost`.
            overlapped: whether the network runs at the same time.
        """
        rows = [one for one in self.table if one.decoder == decoder]
        if not rows:
            return None
        counts = {one.concurrency for one in rows}
        count = max((one for one in counts if one <= concurrency), default=min(counts))
        points = sorted(
            (one.pixels, one.contended_ms if overlapped else one.alone_ms) for one in rows if one.concurrency == count
        )
        sizes, times = zip(*points, strict=True)
        if pixels > sizes[-1]:
            return float(times[-1] * pixels / sizes[-1])
        return float(np.interp(pixels, sizes, times))

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the measured decoders, "cpu" among them."""
        return tuple(dict.fromkeys(one.decoder for one in self.table))

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, object]]) -> Costs:
        """Build the table from the rows of the stored file.

        Raises:
            ValueError, TypeError, KeyError: a row is not a measurement.
        """
        table = []
        for row in rows:
            decoder, pixels, concurrency = row["way"], row["pixels"], row["at_a_time"]
            alone, contended = row["alone_ms"], row["loaded_ms"]
            counted = isinstance(pixels, int) and isinstance(concurrency, int) and pixels > 0 and concurrency > 0
            timed = isinstance(alone, (int, float)) and alone >= 0
            timed = timed and isinstance(contended, (int, float)) and contended >= 0
            if not (isinstance(decoder, str) and counted and timed):
                raise ValueError(f"not a measurement: {row}")
            cost = Cost(decoder, pixels, concurrency, float(alone), float(contended))  # type: ignore[arg-type]
            table.append(cost)
        return cls(tuple(table))
