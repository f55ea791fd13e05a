"""Validate focal lengths and fields of view, and read focal lengths from Exif."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.exif import read_lens, read_orientation

__all__ = ["ExifFocalLength", "FocalLength", "check_focal_or_fov", "exif_focal_length"]

Size = tuple[int, int]
FloatArray = npt.NDArray[np.floating]

_FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # millimetres
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_WIDTH, _HEIGHT = 0xA002, 0xA003
_FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA20E, 0xA210
_MILLIMETRES: dict[float, float] = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_SAME_SHAPE = 0.01  # difference of aspect ratios
_TOLERATED = 1.2  # ratio of focal lengths by different entries, which are rounded
_PLAUSIBLE = (0.1, 100.0)  # of the longer side: fields of view of 157 to 0.6 degrees


@dataclass(frozen=True, eq=False)
class FocalLength:
    """Focal lengths of the views of a prediction.

    Attributes:
        pixels: (N,) float64, in pixels of the network's input.
        origins: (N) source of each, such as "Exif, 35 mm equivalent"; it ends with "doubtful" if it may be wrong.
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


@dataclass(frozen=True)
class ExifFocalLength:
    """A focal length from an Exif block.

    Attributes:
        pixels: focal length in pixels of the upright source image.
        origin: the Exif entries that it came from.
        doubt: why it may be wrong; empty if nothing contradicts it.
    """

    pixels: float
    origin: str
    doubt: str = ""


def exif_focal_length(exif: bytes, source_hw: Size) -> ExifFocalLength | None:
    """Read the focal length from an Exif block.

    The 35 mm equivalent takes precedence; it compares diagonals (CIPA DCG-001). Otherwise the focal length in
    millimetres, the sensor resolution and the digital zoom are used, as in ExifTool's `ScaleFactor35efl`. Both refer to
    the whole image that the camera wrote: see `_Extent`.

    The 35 mm equivalent usually includes digital zoom. If focal length and sensor resolution show that it does not, it
    is multiplied by the zoom.

    Args:
        exif: with or without the `Exif` prefix; may be empty or damaged.
        source_hw: (height, width) of the upright image.

    Returns:
        The focal length; None if there is no plausible value.
    """
    entries = {tag: value for tag, value in read_lens(exif).items() if math.isfinite(value) and value > 0}  # 0: unknown
    turned = (read_orientation(exif) or 1) >= 5
    extent = _extent(entries.get(_WIDTH), entries.get(_HEIGHT), source_hw[::-1] if turned else source_hw)
    zoom = max(entries.get(_DIGITAL_ZOOM, 1.0), 1.0)
    equivalent, sensor = entries.get(_FOCAL_LENGTH_35MM), _sensor_focal_length(entries, extent)
    if sensor is not None and not _is_plausible(sensor * zoom, source_hw):
        sensor = None
    suffix = ", before cropping" if extent.cropped else ""
    if equivalent is not None:
        pixels = equivalent * extent.diagonal / _FULL_FRAME_DIAGONAL
        factor, doubt = _zoom_factor(zoom, None if sensor is None else pixels / sensor)
        entry = "35 mm equivalent" + (" and digital zoom" if factor > 1 else "")
        if _is_plausible(pixels * factor, source_hw):
            return ExifFocalLength(pixels * factor, f"Exif, {entry}{suffix}", extent.doubt or doubt)
    if sensor is None:
        return None
    entry = "focal length and sensor resolution" + (", digital zoom" if zoom > 1 else "")
    return ExifFocalLength(sensor * zoom, f"Exif, {entry}{suffix}", extent.doubt)


def _sensor_focal_length(entries: Mapping[int, float], extent: _Extent) -> float | None:
    millimetres, resolution = entries.get(_FOCAL_LENGTH), entries.get(_FOCAL_PLANE_X_RESOLUTION)
    unit = _MILLIMETRES.get(entries.get(_FOCAL_PLANE_UNIT, 2))
    if millimetres is None or resolution is None or unit is None:
        return None
    return millimetres * resolution / unit * extent.scale


def _zoom_factor(zoom: float, ratio: float | None) -> tuple[float, str]:
    """Return the factor that the 35 mm equivalent lacks, and a doubt.

    Args:
        zoom: digital zoom.
        ratio: focal length by the 35 mm equivalent, relative to that by the sensor without zoom; None if unknown.
    """
    if ratio is None:
        unsure = f"the 35 mm equivalent may not include the digital zoom of {zoom:.3g}" if zoom > _TOLERATED else ""
        return 1.0, unsure
    factor = zoom if ratio < math.sqrt(zoom) else 1.0
    wrong = ratio * factor / zoom
    if 1 / _TOLERATED <= wrong <= _TOLERATED:
        return factor, ""
    return factor, (
        f"by focal length and sensor resolution it is {1 / wrong:.2f} times as much as by the 35 mm equivalent, so the "
        "image was cropped, or one of them is wrong"
    )


@dataclass(frozen=True)
class _Extent:
    """The whole image that the camera wrote, in pixels of the given image.

    If the image has the shape that Exif states, it was at most resized. If one side is as Exif states and the other is
    shorter, it was cropped and not resized. Any other shape is doubtful; the least crop that explains it is assumed.

    Attributes:
        scale: size relative to what Exif states; 1 if that is unknown.
        diagonal: in pixels.
        cropped: whether the image is only a part of it.
        doubt: why the sizes contradict each other; empty if they do not.
    """

    scale: float
    diagonal: float
    cropped: bool = False
    doubt: str = ""


def _extent(width: float | None, height: float | None, stored_hw: Size) -> _Extent:
    if width is None or height is None:
        known = width or height
        return _Extent(max(stored_hw) / known if known else 1.0, math.hypot(*stored_hw))
    as_stored, swapped = (
        (stored_hw[1] / across, stored_hw[0] / down) for across, down in ((width, height), (height, width))
    )
    diagonal = math.hypot(width, height)
    doubt = (
        f"Exif states {width:.0f}x{height:.0f} pixels for this image of {stored_hw[1]}x{stored_hw[0]}, so it was "
        "cropped or changed otherwise"
    )
    # Software that turns the pixels may leave the sizes in Exif as they were.
    same = next((ratio for ratio in (as_stored, swapped) if _is_same(ratio, stored_hw)), None)
    if same is not None and not (same is swapped and _is_crop(as_stored)):
        return _Extent(math.hypot(*stored_hw) / diagonal, math.hypot(*stored_hw))
    if _is_crop(as_stored):
        return _Extent(1.0, diagonal, True, doubt if same else "")
    if _is_crop(swapped):
        return _Extent(1.0, diagonal, True, doubt)
    ratio = max(as_stored, swapped, key=lambda one: min(one) / max(one))
    scale = 1.0 if 1.0 in ratio else max(ratio)  # 1.0: a panorama, or borders were added
    return _Extent(scale, scale * diagonal, True, doubt)


def _is_same(ratio: tuple[float, float], stored_hw: Size) -> bool:
    """Whether both sides were scaled by the same factor; sides are rounded to whole pixels."""
    return abs(ratio[0] / ratio[1] - 1) <= max(_SAME_SHAPE, 1 / min(stored_hw))


def _is_crop(ratio: tuple[float, float]) -> bool:
    return max(ratio) == 1.0 and min(ratio) < 1.0


def _is_plausible(pixels: float, source_hw: Size) -> bool:
    low, high = (bound * max(source_hw) for bound in _PLAUSIBLE)
    return low <= pixels <= high
