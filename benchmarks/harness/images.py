"""Make photo-like images and files for the benchmarks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo

__all__ = ["SIZES", "encode", "make_images", "parse_size"]

SIZES = {"VGA": (640, 480), "HD": (1280, 720), "FHD": (1920, 1080), "4K": (3840, 2160), "12MP": (4032, 3024)}
"""Name to (width, height); 12MP is the usual size of a phone's."""

_ORIENTATION_TAG = 0x0112


def make_images(width: int, height: int, seeds: Sequence[int]) -> list[npt.NDArray[np.uint8]]:
    """Different photo-like images (H, W, 3), one a seed."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda seed: photo(width, height, seed), seeds))


def encode(
    image: npt.NDArray[np.uint8],
    kind: str = "JPEG",
    *,
    mode: str = "RGB",
    orientation: int = 1,
    **save_options: str | int,
) -> bytes:
    """Encode a file; RGB JPEGs are 4:2:0 of quality 95, unless Pillow's `save_options` differ."""
    options: dict[str, str | int | bytes] = {}
    if kind == "JPEG" and mode == "RGB":
        options |= {"quality": 95, "subsampling": "4:2:0"}
    if orientation != 1:
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = orientation
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind, **{**options, **save_options})
    return buffer.getvalue()


def parse_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT to (width, height)."""
    width, height = map(int, text.split("x"))
    return width, height
