"""Small images and files for tests, made in code."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo


def exif_block(orientation: int, *, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """An Exif block with one entry, the orientation, as SHORT (3) or LONG (4)."""
    value = struct.pack(order + ("H" if kind == 3 else "I"), orientation).ljust(4, b"\0")
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + tiff + struct.pack(order + "HHHI", 1, 0x0112, kind, count) + value + b"\0\0\0\0"


def encoded(image: Image.Image | np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    """An image as the bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width: int = 120, height: int = 80, seed: int = 0, **options: object) -> bytes:
    """A photo-like JPEG."""
    return encoded(photo(width, height, seed), "JPEG", **{"quality": 90, **options})


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference of two 8-bit arrays of one shape."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max(initial=0))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two 8-bit arrays, in dB."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return np.inf if error == 0 else 10 * np.log10(255.0**2 / error)
