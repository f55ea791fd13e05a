"""Write image files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write_image", "write_jpeg"]

_QUALITY = 95


def write_jpeg(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """Write (H, W, 3) uint8 RGB as a JPEG of quality 95.

    Raises:
        ExportError: the file cannot be written.
    """
    return write_image(path, pixels, "JPEG", quality=_QUALITY)


def write_image(path: Path, pixels: npt.NDArray[Any], format_name: str, **options: Any) -> Path:  # Any: as in Pillow
    """Write pixels in one of Pillow's formats, with Pillow's options.

    Raises:
        ExportError: the file cannot be written.
    """
    # Encoded in memory: Pillow raises no error when a full disk cuts the file short (13.0, TIFF and JPEG).
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format_name, **options)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return path
