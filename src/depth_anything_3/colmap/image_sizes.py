"""Paired images in, their intrinsics in pixels of the files out: a model may have seen them smaller, or unturned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.colmap.find import Pairing
from depth_anything_3.errors import ImageDecodeError, ImageReadError, ImageSizeError, InvalidInputError

__all__ = ["given_cameras"]

Size = tuple[int, int]

_ORIENTATION = 0x0112
_TURNED = range(5, 9)  # orientations that exchange height and width
_ASPECTS_DIFFER = 0.02  # more than rounding of a smaller copy does


def given_cameras(pairing: Pairing) -> tuple[str, npt.NDArray[np.float64]]:
    """How Exif orientations are to be taken ("apply" or "ignore"), and the intrinsics in pixels of pictures so taken.

    Returns:
        The word, and (N, 3, 3).

    Raises:
        InvalidInputError: an image has other proportions than the model says, or images disagree about orientation.
        ImageReadError, ImageDecodeError: an image cannot be read.
    """
    found = [_sizes(path) for path in pairing.paths]
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


def _sizes(path: Path) -> tuple[Size, Size]:
    """(height, width) upright and as stored, from the header."""
    try:
        with Image.open(path) as image:
            stored = image.height, image.width
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in _TURNED
    except OSError as error:
        kind = ImageReadError if error.errno else ImageDecodeError
        raise kind(f"{path}: cannot be read ({error.strerror or 'not a picture of a known format'})") from error
    except Image.DecompressionBombError as error:
        raise ImageSizeError(f"{path}: too many pixels ({error}); give smaller copies of all pictures") from error
    except Exception as error:  # Pillow's readers raise almost anything on a damaged header
        raise ImageDecodeError(f"{path}: damaged image header ({error})") from error
    return (stored[::-1] if turned else stored), stored


def _same_shape(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < _ASPECTS_DIFFER
