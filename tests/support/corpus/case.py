"""One file of the corpus and what is expected of it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, ImageDecodeError

__all__ = ["HEIGHT", "LOSSY", "WIDTH", "Case", "as_pillow", "draw_image"]

WIDTH, HEIGHT = 61, 43
LOSSY = 4
"""Levels: rounding of transform, colour and chroma, each by a decoder of its own."""


@dataclass(frozen=True, eq=False)
class Case:
    """A file and what is to come of it.

    Attributes:
        group: the row of the table that it counts in.
        name: what it is; unique within its group.
        data: its bytes.
        pixels: (H, W, 3) uint8 RGB, upright; None: it is refused.
        levels: by how much (of 255) pixels may differ.
        error, message: the expected error, and a part of its message.
        suffix: of its name on disk.
    """

    group: str
    name: str
    data: bytes
    pixels: np.ndarray | None = None
    levels: int = 0
    error: type[DA3Error] = ImageDecodeError
    message: str = ""
    suffix: str = ".img"

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


def draw_image(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Photo-like."""
    return photo(width, height, seed)


def as_pillow(group: str, name: str, data: bytes) -> Case:
    """A damaged file that is to come out as plain Pillow has it: with its pixels, or refused where it raises."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > 1 << 20:
                return Case(group, name, data, error=DA3Error)
            return Case(group, name, data, np.asarray(image.convert("RGB")))
    except Exception:  # whatever Pillow's readers raise
        return Case(group, name, data, error=DA3Error)
