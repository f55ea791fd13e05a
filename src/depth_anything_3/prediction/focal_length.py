"""Validate focal lengths and fields of view, and read focal lengths from Exif."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import InvalidInputError

__all__ = ["FocalLength", "check_focal_or_fov", "exif_focal_length"]

Size = tuple[int, int]
FloatArray = npt.NDArray[np.floating]

_FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # millimetres
_EXIF_FOLDER = 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_WIDTH, _HEIGHT = 0xA002, 0xA003
_FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA20E, 0xA210
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_PLAUSIBLE = (0.1, 100.0)  # of the longer side: fields of view of 157 to 0.6 degrees


@dataclass(frozen=True, eq=False)
class FocalLength:
    """Focal lengths of the views of a prediction.

    Attributes:
        pixels: (N,) float64, in pixels of the network's input.
        origins: (N) source of each, such as "Exif, 35 mm equivalent".
    """

    pixels: npt.NDArray[np.float64]
    origins: tuple[str, ...]


def check_focal_or_fov(focal: float | Sequence[float] | FloatArray | None, fov: float | None) -> None:
    """Check a focal length (pixels) or horizontal field of view (degrees).

    Raises:
        InvalidInputError: both are given, or one is out of range.
    """
    if focal is not None and fov is not None:
        raise InvalidInputError(f"focal={focal!r} and fov={fov!r} both given; pass one of them")
    try:
        lengths = np.asarray(1.0 if focal is None else focal, np.float64)
    except (TypeError, ValueError):
        lengths = np.array(np.nan)  # not a number
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InvalidInputError(f"focal={focal!r}: pass a positive number of pixels")
    if fov is not None and not 0 < fov < 180:
        raise InvalidInputError(f"fov={fov!r}: pass degrees between 0 and 180")


def exif_focal_length(exif: bytes, source_hw: Size) -> tuple[float, str] | None:
    """Read the focal length from an Exif block.

    The 35 mm equivalent takes precedence, because it stays valid when an image is downscaled; it compares diagonals
    (CIPA DCG-001). Otherwise the focal length in millimetres and the sensor resolution are used.

    Args:
        exif: with or without the `Exif` prefix; may be empty or damaged.
        source_hw: (height, width) of the image.

    Returns:
        Focal length in pixels of the upright source image, and the Exif entry it came from; None if there is no
        plausible value.
    """
    try:
        block = Image.Exif()
        block.load(exif if exif.startswith(b"Exif\0\0") else b"Exif\0\0" + exif)
        entries = block.get_ifd(_EXIF_FOLDER)
    except Exception:  # Pillow raises almost anything on damaged blocks
        return None
    equivalent = _number(entries.get(_FOCAL_LENGTH_35MM))
    if equivalent is not None:
        pixels = equivalent * math.hypot(*source_hw) / _FULL_FRAME_DIAGONAL
        found = _if_plausible(pixels, source_hw, "35 mm equivalent")
        if found is not None:
            return found
    millimetres, resolution = _number(entries.get(_FOCAL_LENGTH)), _number(entries.get(_FOCAL_PLANE_X_RESOLUTION))
    unit = _MILLIMETRES.get(entries.get(_FOCAL_PLANE_UNIT, 2))
    if millimetres is None or resolution is None or unit is None:
        return None
    sides = [side for side in (_number(entries.get(_WIDTH)), _number(entries.get(_HEIGHT))) if side is not None]
    downscale = max(source_hw) / max(sides) if sides else 1.0  # since the image was taken
    return _if_plausible(millimetres * resolution / unit * downscale, source_hw, "focal length and sensor resolution")


def _number(value: object) -> float | None:
    """Convert to a positive, finite number, or None; 0 means "unknown" in Exif."""
    try:
        number = float(value)  # type: ignore[arg-type]  # a rational, a number, or anything else
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _if_plausible(pixels: float, source_hw: Size, entry: str) -> tuple[float, str] | None:
    low, high = (bound * max(source_hw) for bound in _PLAUSIBLE)
    return (pixels, f"Exif, {entry}") if low <= pixels <= high else None
