"""What is known of a camera in, its focal length in pixels out, and where that came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import InvalidInputError

__all__ = ["FocalLength", "check_lens", "exif_focal_length"]

Size = tuple[int, int]
FloatArray = npt.NDArray[np.floating]

_FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # millimetres
_EXIF_FOLDER = 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_WIDTH, _HEIGHT = 0xA002, 0xA003
_FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA20E, 0xA210
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_SENSIBLE = (0.1, 100.0)  # of the longer side: fields of view of 157 to 0.6 degrees


@dataclass(frozen=True, eq=False)
class FocalLength:
    """Focal lengths of the views of a prediction.

    Attributes:
        pixels: (N,) float64, in pixels of the network's input.
        origins: (N) of where each came from, such as "Exif, 35 mm equivalent".
    """

    pixels: npt.NDArray[np.float64]
    origins: tuple[str, ...]


def check_lens(focal: float | Sequence[float] | FloatArray | None, fov: float | None) -> None:
    """Refuse what is no focal length (pixels) or horizontal field of view (degrees).

    Raises:
        InvalidInputError: both are given, or one is out of range.
    """
    if focal is not None and fov is not None:
        raise InvalidInputError(f"focal={focal!r} and fov={fov!r} say the same thing: give one of them")
    try:
        lengths = np.asarray(1.0 if focal is None else focal, np.float64)
    except (TypeError, ValueError):
        lengths = np.array(np.nan)  # text, or whatever it is
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InvalidInputError(f"focal={focal!r}: give a positive number of pixels")
    if fov is not None and not 0 < fov < 180:
        raise InvalidInputError(f"fov={fov!r}: give degrees between 0 and 180")


def exif_focal_length(exif: bytes, source_hw: Size) -> tuple[float, str] | None:
    """The focal length in an Exif block, in pixels of the upright source picture, and which entry told it.

    The 35 mm equivalent comes first: it is still right for a picture that was made smaller. It compares diagonals, as
    CIPA DCG-001 has it. Else the focal length in millimetres and the sensor's pixels per inch tell it.

    Args:
        exif: with or without the `Exif` prefix; may be empty or damaged.
        source_hw: (height, width) of the picture.

    Returns:
        None where nothing sensible is told.
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
        found = _sensible(pixels, source_hw, "35 mm equivalent")
        if found is not None:
            return found
    millimetres, resolution = _number(entries.get(_FOCAL_LENGTH)), _number(entries.get(_FOCAL_PLANE_X_RESOLUTION))
    unit = _MILLIMETRES.get(entries.get(_FOCAL_PLANE_UNIT, 2))
    if millimetres is None or resolution is None or unit is None:
        return None
    sides = [side for side in (_number(entries.get(_WIDTH)), _number(entries.get(_HEIGHT))) if side is not None]
    smaller = max(source_hw) / max(sides) if sides else 1.0  # than what the camera took
    return _sensible(millimetres * resolution / unit * smaller, source_hw, "focal length and sensor resolution")


def _number(value: object) -> float | None:
    """A positive, finite number, or None; writers put 0 for "unknown"."""
    try:
        number = float(value)  # type: ignore[arg-type]  # a rational, a number, or whatever the file holds
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _sensible(pixels: float, source_hw: Size, entry: str) -> tuple[float, str] | None:
    low, high = (bound * max(source_hw) for bound in _SENSIBLE)
    return (pixels, f"Exif, {entry}") if low <= pixels <= high else None
