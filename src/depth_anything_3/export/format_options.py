"""Define the options that formats share, and check their values."""

from __future__ import annotations

from dataclasses import dataclass

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["FormatOptions", "PointOptions", "check_percentile"]


@dataclass(frozen=True)
class FormatOptions:
    """Base of the formats' options, and the options of a format that has none.

    An option that is also a field of `ExportOptions` takes its value from there. If the names differ, the option's
    metadata holds the other name as `parameter`.
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


def check_percentile(name: str, value: float) -> None:
    """Check that a value is a percentile.

    Raises:
        InvalidInputError: it is not from 0 to 100.
    """
    if not 0 <= value <= 100:
        raise InvalidInputError(f"{name}={value!r} is not a percentile; give a value from 0 to 100")
