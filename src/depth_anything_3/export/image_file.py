"""Pixels in, a picture file out, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write_jpeg", "write_picture"]

_QUALITY = 95


def write_jpeg(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """Write (H, W, 3) uint8 RGB as a JPEG of quality 95.

    Raises:
        ExportError: the file cannot be written.
    """
    return write_picture(path, pixels, "JPEG", quality=_QUALITY)


def write_picture(path: Path, pixels: npt.NDArray[Any], kind: str, **options: Any) -> Path:  # Any: as Pillow takes them
    """Write pixels in one of Pillow's formats.

    Raises:
        ExportError: the file cannot be written.
    """
    # Encoded in memory: into a file, Pillow takes what a full disk cut short for written (13.0, TIFF and JPEG).
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    with atomic_write(path) as aside:
        aside.write_bytes(content.getbuffer())
    return path
