"""Scale a sparse model's intrinsics to the image files, which may be resized or have an EXIF orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.colmap.find import Pairing
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.image_source import read_file
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["given_cameras", "image_sizes"]

Size = tuple[int, int]

_TRANSPOSED = range(5, 9)  # orientations that exchange height and width
_MAX_ASPECT_ERROR = 0.02  # relative; more than the rounding of a smaller copy


def given_cameras(pairing: Pairing, options: PreprocessOptions | None = None) -> tuple[str, npt.NDArray[np.float64]]:
    """Find whether to apply EXIF orientations, and compute the intrinsics in pixels of the images.

    Args:
        pairing: images and their poses.
        options: limits of the images.

    Returns:
        The value for `exif` ("apply" or "ignore"), and (N, 3, 3) intrinsics in pixels of images read with it.

    Raises:
        InvalidInputError: an image has a different aspect ratio in the model, or orientations are inconsistent.
        ImageReadError, ImageDecodeError, ImageSizeError: an image cannot be read, or exceeds the limits.
    """
    found = [image_sizes(path, options or PreprocessOptions()) for path in pairing.paths]
    matches: dict[str, list[bool]] = {}
    for index, exif in enumerate(("apply", "ignore")):
        matches[exif] = [_same_aspect(both[index], size) for both, size in zip(found, pairing.sizes, strict=True)]
    # If sizes do not decide (square or upside-down images), ignore the orientation, as COLMAP does.
    exif = "apply" if sum(matches["apply"]) > sum(matches["ignore"]) else "ignore"
    sizes = [upright if exif == "apply" else stored for upright, stored in found]
    for path, size, in_model, matching in zip(pairing.paths, sizes, pairing.sizes, matches[exif], strict=True):
        if not matching:
            raise InvalidInputError(
                f"{path} is {size[1]}x{size[0]}, but {in_model[1]}x{in_model[0]} in the sparse model; give the images "
                "that the model was made from, or resized copies of all of them"
            )
    ratios = np.array(sizes, np.float64) / np.array(pairing.sizes, np.float64)
    intrinsics = pairing.intrinsics.copy()
    intrinsics[:, 0] *= ratios[:, 1:]
    intrinsics[:, 1] *= ratios[:, :1]
    return exif, intrinsics


def image_sizes(path: Path, options: PreprocessOptions) -> tuple[Size, Size]:
    """Read (height, width) from the header of an image, upright and as stored.

    Raises:
        ImageReadError, ImageDecodeError, ImageSizeError: it cannot be read, or exceeds the limits.
    """
    header = probe(read_file(path, options.max_bytes), str(path), options.max_pixels)
    stored = header.stored_hw
    return (stored[::-1] if header.exif_orientation in _TRANSPOSED else stored), stored


def _same_aspect(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < _MAX_ASPECT_ERROR
