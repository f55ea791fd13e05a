"""Write `depth_png`: depth as 16-bit grey PNGs, with a scale factor."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngInfo

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.export.format_options import FormatOptions, check_depth_scale
from depth_anything_3.export.image_file import write_image
from depth_anything_3.export.labels import depth_unit, view_names
from depth_anything_3.prediction import Prediction

__all__ = ["DepthPngOptions", "write"]

logger = logging.getLogger(__name__)

_MAX_VALUE = 65535
# Depth hardly repeats itself, so to search for repeated bytes costs 2 to 6 times the time and saves no space. It would
# save 7 to 13 % with few values (`depth_scale`), and 18 % of depth that was enlarged.
_COMPRESSION = zlib.Z_RLE


@dataclass(frozen=True)
class DepthPngOptions(FormatOptions):
    """Options of `depth_png`.

    Attributes:
        depth_scale: values per unit of depth, the same in every file, such as 1000 for millimetres; None: each view
            uses the whole range of values.
        force_depth_scale: accept `depth_scale` for depth that is not metric.
    """

    depth_scale: float | None = None
    force_depth_scale: bool = False

    def __post_init__(self) -> None:
        check_depth_scale(self.depth_scale)

    def check(self, available: AvailableFields) -> None:
        """Check that values are comparable between files.

        Raises:
            UnsupportedError: depth is not metric, and `depth_scale` is given without `force_depth_scale`.
        """
        if self.depth_scale is not None and not self.force_depth_scale and not available.metric:
            raise UnsupportedError(
                f"depth_scale={self.depth_scale:g}: depth of {available.owner} is not metric, so values of different "
                "files would not be comparable; compute metric depth, leave depth_scale out, or pass "
                "force_depth_scale=True"
            )


def write(prediction: Prediction, export_dir: Path, name: str | None, options: DepthPngOptions) -> list[Path]:
    """Write one PNG per view: `depth = value * depth_scale`, where `depth_scale` is a text entry; 0 is invalid depth.

    The entry is 1 over the option `depth_scale`. Without that option, each view uses the whole range of values. With
    it, depth that 16 bits cannot hold becomes 0, with a warning. Another text entry is `depth_unit`.

    Raises:
        ExportError: a file cannot be written.
    """
    paths = []
    for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True):
        path = export_dir / "depth_png" / f"{view}.png"
        if options.depth_scale is None:
            values, scale = _in_whole_range(depth)
        else:
            values, scale = _in_fixed_steps(depth, options.depth_scale, f"{view}.png"), 1.0 / options.depth_scale
        info = PngInfo()
        info.add_text("depth_scale", repr(scale))
        info.add_text("depth_unit", depth_unit(prediction))
        paths.append(write_image(path, values, "PNG", pnginfo=info, compress_type=_COMPRESSION))
    return paths


def _in_whole_range(depth: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint16], float]:
    """Quantise depth so that the farthest is 65535; return the values and the depth of one step."""
    valid = np.isfinite(depth) & (depth > 0)
    scale = float(depth[valid].max()) / _MAX_VALUE if valid.any() else 1.0
    values = np.zeros(depth.shape, np.uint16)
    # Clip to 1: 0 is invalid depth.
    values[valid] = np.clip(np.rint(depth[valid].astype(np.float64) / scale), 1, _MAX_VALUE)
    return values, scale


def _in_fixed_steps(depth: npt.NDArray[np.float32], per_unit: float, name: str) -> npt.NDArray[np.uint16]:
    """Quantise depth; 0 where it is invalid, or too far or too near for 16 bits, of which the latter two are logged."""
    valid = np.isfinite(depth) & (depth > 0)
    steps = np.rint(np.where(valid, depth, 0.0).astype(np.float64) * per_unit)
    held = (steps >= 1) & (steps <= _MAX_VALUE)
    lost = int(np.count_nonzero(valid & ~held))
    if lost:
        logger.warning(
            "%s: %.3g %% of the pixels are not from %g to %g, which is what 16 bits hold with depth_scale=%g; they are "
            "0 (invalid). Choose another depth_scale, or write tiff or npz",
            *(name, 100.0 * lost / depth.size, 0.5 / per_unit, _MAX_VALUE / per_unit, per_unit),
        )
    return np.where(held, steps, 0.0).astype(np.uint16)
