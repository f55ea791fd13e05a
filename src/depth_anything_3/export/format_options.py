"""Define the options that formats share, and check their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.option_values import StringEnum, positive_int

if TYPE_CHECKING:
    from depth_anything_3.export.fields import AvailableFields

__all__ = [
    "ColorOptions",
    "Colormap",
    "ColormapName",
    "DepthRange",
    "FormatOptions",
    "PointOptions",
    "check_colors",
    "check_depth_scale",
    "check_percentile",
    "depth_range_of",
    "inverse_range",
    "parse_depth_range",
]

DepthRange = str | Sequence[float]
"""Nearest and farthest depth: "1:20" or (1, 20)."""


ColormapName = Literal["spectral", "inferno", "magma", "plasma", "viridis", "turbo", "gray"]


class Colormap(StringEnum):
    """Colours of depth maps."""

    SPECTRAL = "spectral"
    INFERNO = "inferno"
    MAGMA = "magma"
    PLASMA = "plasma"
    VIRIDIS = "viridis"
    TURBO = "turbo"
    GRAY = "gray"


@dataclass(frozen=True)
class FormatOptions:
    """Base of the formats' options, and the options of a format that has none.

    An option that is also a field of `ExportOptions` takes its value from there. If the names differ, the option's
    metadata holds the other name as `parameter`.
    """

    def check(self, available: AvailableFields) -> None:
        """Check that a prediction with these fields can be written with these options.

        Raises:
            UnsupportedError: it cannot.
        """


@dataclass(frozen=True)
class PointOptions(FormatOptions):
    """Options of point clouds (`ply`).

    Attributes:
        conf_thresh_percentile: percentile of confidence, 0 to 100; pixels below it are dropped.
        num_max_points: maximum number of points, chosen at random with a fixed seed; None keeps all.
    """

    conf_thresh_percentile: float = 40.0
    num_max_points: int | None = 1_000_000

    def __post_init__(self) -> None:
        check_percentile("conf_thresh_percentile", self.conf_thresh_percentile)
        if self.num_max_points is not None:
            positive_int("num_max_points", self.num_max_points)


@dataclass(frozen=True)
class ColorOptions(FormatOptions):
    """Options of coloured depth (`depth_vis`, `depth_color`).

    Attributes:
        colormap: name of the colours.
        depth_range: nearest and farthest depth that the colours cover, in the unit of the depth, as (1, 20) or "1:20";
            None: the range of each view.
        shared_range: one range for all views, or for all images of a run.
    """

    colormap: Colormap = Colormap.SPECTRAL
    depth_range: tuple[float, float] | None = None
    shared_range: bool = False

    def __post_init__(self) -> None:
        check_colors(self)


def check_colors(options: ColorOptions) -> None:
    """Parse the options of coloured depth in place.

    Raises:
        InvalidInputError: a value is not accepted, or both ranges are given.
    """
    object.__setattr__(options, "colormap", Colormap(options.colormap))
    if options.depth_range is None:
        return
    object.__setattr__(options, "depth_range", parse_depth_range(options.depth_range))
    if options.shared_range:
        raise InvalidInputError("depth_range and shared_range both set the range of the colours; pass one of them")


def parse_depth_range(value: DepthRange) -> tuple[float, float]:
    """Parse a nearest and a farthest depth; the farthest may be infinite.

    Raises:
        InvalidInputError: it is not two increasing positive numbers.
    """
    parts = value.split(":") if isinstance(value, str) else value
    try:
        near, far = (float(one) for one in parts)
    except (TypeError, ValueError):
        near = far = math.nan
    if not 0 < near < far:
        raise InvalidInputError(
            f"depth_range={value!r}: give the nearest and the farthest depth, in the unit of the depth, such as 1:20"
        )
    return near, far


def inverse_range(value: DepthRange | None) -> tuple[float, float] | None:
    """Return the inverse depths of the farthest and the nearest depth of a range; None for None.

    Raises:
        InvalidInputError: see `parse_depth_range`.
    """
    if value is None:
        return None
    near, far = parse_depth_range(value)
    return 1.0 / far, 1.0 / near


def depth_range_of(inverse: tuple[float, float]) -> tuple[float, float] | None:
    """Return the nearest and the farthest depth of a range of inverse depth, which may be of one depth only.

    Args:
        inverse: the lower and the upper inverse depth, 0 or more; None is returned if both are 0.
    """
    low, high = inverse
    if high <= 0:
        return None
    near = 1.0 / high
    return near, max(1.0 / low if low > 0 else math.inf, near * (1.0 + 1e-6))


def check_percentile(name: str, value: float) -> None:
    """Check that a value is a percentile.

    Raises:
        InvalidInputError: it is not from 0 to 100.
    """
    if not 0 <= value <= 100:
        raise InvalidInputError(f"{name}={value!r} is not a percentile; give a value from 0 to 100")


def check_depth_scale(value: float | None) -> None:
    """Check the number of values per unit of depth.

    Raises:
        InvalidInputError: it is not positive and finite.
    """
    if value is not None and not 0 < value < math.inf:
        raise InvalidInputError(
            f"depth_scale={value!r}: give the values per unit of depth, such as 1000 for millimetres"
        )
