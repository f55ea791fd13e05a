"""Define the options of the writers, with the names of upstream's `inference`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import FormatOptions, PointOptions
from depth_anything_3.export.registry import ExportFormat, Formats, find_format, format_names
from depth_anything_3.runtime.option_values import positive_int

if TYPE_CHECKING:
    import os

__all__ = ["ExportKwargs", "ExportOptions"]

logger = logging.getLogger(__name__)


class ExportKwargs(TypedDict, total=False):
    """Keyword arguments of calls that write results: a folder, the formats, and the fields of `ExportOptions`."""

    export_dir: str | os.PathLike[str] | None
    export_format: Formats
    conf_thresh_percentile: float
    num_max_points: int | None
    show_cameras: bool
    feat_vis_fps: int
    render_exts: Any  # Any: an array or tensor
    render_ixts: Any
    render_hw: tuple[int, int] | None
    export_kwargs: Mapping[str, Mapping[str, Any]] | None


@dataclass(frozen=True, eq=False)
class ExportOptions:
    """Options of all writers; the defaults are upstream's.

    Attributes:
        conf_thresh_percentile, num_max_points: for `ply`, `glb` and `colmap`, see `PointOptions`.
        show_cameras: draw the cameras in `glb`.
        feat_vis_fps: frames per second of the videos of `feat_vis`.
        render_exts, render_ixts, render_hw: cameras of `gs_video`, see `GsVideoOptions`.
        export_kwargs: further options by format, as `{format: {name: value}}`. Values of the fields above override
            them, as in upstream.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    conf_thresh_percentile: float = 40.0
    num_max_points: int | None = 1_000_000
    show_cameras: bool = True
    feat_vis_fps: int = 15
    render_exts: Any = None  # Any: an array or tensor
    render_ixts: Any = None
    render_hw: tuple[int, int] | None = None
    export_kwargs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Checked even if no requested format uses them.
        PointOptions(self.conf_thresh_percentile, self.num_max_points)
        positive_int("feat_vis_fps", self.feat_vis_fps)

    def unused_by(self, formats: Sequence[ExportFormat]) -> list[str]:
        """List the parameters that differ from their defaults, but that no format uses."""
        defaults = ExportOptions()
        used = {
            option.metadata.get("parameter", option.name) for one in formats for option in fields(one.options_class())
        }
        names = [one.name for one in fields(self) if one.name not in used and one.name != "export_kwargs"]
        return [
            *(name for name in names if _differ(getattr(self, name), getattr(defaults, name))),
            *(f"export_kwargs[{name!r}]" for name in self.export_kwargs if name not in {one.name for one in formats}),
        ]

    def of(self, one: ExportFormat) -> FormatOptions:
        """Make the options of one format.

        Raises:
            InvalidInputError: `export_kwargs` names a format or option that is unknown, or a value is not accepted.
        """
        self._check_names()
        options_class = one.options_class()
        given = dict(self.export_kwargs.get(one.name, {}))
        defaults = {parameter.name: parameter.default for parameter in fields(self)}
        for option in fields(options_class):
            parameter = option.metadata.get("parameter", option.name)
            if parameter not in defaults:
                continue
            value = getattr(self, parameter)
            if value is None and defaults[parameter] is None:
                continue  # not given
            if option.name in given and repr(given[option.name]) != repr(value):
                logger.warning("export_kwargs: %s of %s is overridden by %s", option.name, one.name, parameter)
            given[option.name] = value
        return options_class(**given)

    def _check_names(self) -> None:
        for format_name, given in self.export_kwargs.items():
            try:
                known = [option.name for option in fields(find_format(format_name).options_class())]
            except InvalidInputError:
                raise InvalidInputError(
                    f"export_kwargs: format {format_name!r} is unknown; choose from: {format_names()}"
                ) from None
            for name in given:
                if name not in known:
                    hint = f"it has: {', '.join(known)}" if known else "it has no options"
                    raise InvalidInputError(f"export_kwargs: {format_name} has no option {name!r}; {hint}")


def _differ(value: object, default: object) -> bool:
    """Compare without comparing arrays element by element."""
    return value is not default and (default is None or value != default)
