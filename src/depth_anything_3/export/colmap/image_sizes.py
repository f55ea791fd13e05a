"""Paired images in, their intrinsics in pixels of the files out: a model may have seen them smaller, or unturned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.colmap.find import Pairing
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.source import read_file

__all__ = ["given_cameras"]

Size = tuple[int, int]

_TURNED = range(5, 9)  # orientations that exchange height and width
_ASPECTS_DIFFER = 0.02  # more than rounding of a smaller copy does


def given_cameras(pairing: Pairing, options: PreprocessOptions | None = None) -> tuple[str, npt.NDArray[np.float64]]:
    """How Exif orientations are to be taken ("apply" or "ignore"), and the intrinsics in pixels of pictures so taken.

    Args:
        pairing: images and their poses.
        options: limits on the images.

    Returns:
        The word, and (N, 3, 3).

    Raises:
        InvalidInputError: an image has other proportions than the model says, or images disagree about orientation.
        ImageReadError, ImageDecodeError, ImageSizeError: an image cannot be read, or is beyond the limits.
    """
    found = [_sizes(path, options or PreprocessOptions()) for path in pairing.paths]
    fits: dict[str, list[bool]] = {}
    for place, word in enumerate(("apply", "ignore")):
        fits[word] = [_same_shape(both[place], size) for both, size in zip(found, pairing.sizes, strict=True)]
    # Where sizes do not tell (square pictures, or upside down), as COLMAP takes files: unturned.
    exif = "apply" if sum(fits["apply"]) > sum(fits["ignore"]) else "ignore"
    sizes = [upright if exif == "apply" else stored for upright, stored in found]
    for path, size, claimed, fitting in zip(pairing.paths, sizes, pairing.sizes, fits[exif], strict=True):
        if not fitting:
            raise InvalidInputError(
                f"{path}: {size[1]}x{size[0]}, but in the sparse model {claimed[1]}x{claimed[0]}; give the "
                "images that the model was made of, or smaller copies of all of them"
            )
    ratios = np.array(sizes, np.float64) / np.array(pairing.sizes, np.float64)
    intrinsics = pairing.intrinsics.copy()
    intrinsics[:, 0] *= ratios[:, 1:]
    intrinsics[:, 1] *= ratios[:, :1]
    return exif, intrinsics


def _sizes(path: Path, options: PreprocessOptions) -> tuple[Size, Size]:
    """(height, width) upright and as stored, from the header."""
    header = probe(read_file(path, options.max_bytes), str(path), options.max_pixels)
    stored = header.stored_hw
    return (stored[::-1] if header.exif_orientation in _TURNED else stored), stored


def _same_shape(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < _ASPECTS_DIFFER
