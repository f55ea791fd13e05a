"""The pixels of a decoded image file, and what its decoder warned of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Decoded"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded image file.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, contiguous.
        warnings: what is wrong with the file although it was decoded; without the file's name.
    """

    pixels: npt.NDArray[np.uint8]
    warnings: tuple[str, ...] = ()
