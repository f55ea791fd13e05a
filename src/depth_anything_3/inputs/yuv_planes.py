"""A frame as the planes of its decoder: 8-bit YUV with a quarter of the chroma samples (4:2:0)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["YuvPlanes"]

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class YuvPlanes:
    """The planes of a frame, and how they become RGB. Height and width are even.

    Attributes:
        stored_hw: (height, width) of the frame as stored.
        luma: (height, at least width) uint8; what is right of the width has no meaning.
        chroma: the planes U and V, (height / 2, at least width / 2) uint8; or one plane of alternating U and V.
        colors: (3, 4) float64; red, green and blue are this matrix times (Y, U, V, 1).
        linear_rows: whether chroma is interpolated linearly between rows; else each sample counts for two rows. Each
            sample counts for two columns.
        orientation: EXIF value, 1 to 8, that makes the frame upright.
        convert: returns the frame as (H, W, 3) uint8 RGB, upright.
    """

    stored_hw: tuple[int, int]
    luma: UInt8Array
    chroma: tuple[UInt8Array, ...]
    colors: npt.NDArray[np.float64]
    linear_rows: bool
    orientation: int
    convert: Callable[[], UInt8Array]

    @classmethod
    def black(cls, size_hw: tuple[int, int]) -> YuvPlanes:
        """Return an upright black frame of about this (height, width): both are made even."""
        height, width = (2 * -(-side // 2) for side in size_hw)
        chroma = np.full((height // 2, width // 2), 128, np.uint8)
        return cls(
            stored_hw=(height, width),
            luma=np.zeros((height, width), np.uint8),
            chroma=(chroma, chroma),
            colors=np.eye(1, 4) * np.ones((3, 1)),
            linear_rows=False,
            orientation=1,
            convert=lambda: np.zeros((height, width, 3), np.uint8),
        )

    @property
    def upright_hw(self) -> tuple[int, int]:
        """(height, width) of the upright frame."""
        height, width = self.stored_hw
        return (width, height) if self.orientation >= 5 else (height, width)

    @property
    def is_interleaved(self) -> bool:
        """Whether U and V alternate in one plane."""
        return len(self.chroma) == 1

    @cached_property
    def rgb(self) -> UInt8Array:
        """The frame as (H, W, 3) uint8 RGB, upright; converted on first use.

        Raises:
            VideoReadError: FFmpeg cannot convert it.
        """
        return self.convert()
