"""Kept for clients of upstream: `export` and the writers of its formats."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.registry import format_names, parse_formats
from depth_anything_3.prediction import Prediction
from depth_anything_3.utils.export.colmap import export_to_colmap
from depth_anything_3.utils.export.depth_vis import export_to_depth_vis
from depth_anything_3.utils.export.glb import export_to_glb
from depth_anything_3.utils.export.gs import export_to_gs_ply, export_to_gs_video
from depth_anything_3.utils.export.npz import export_to_mini_npz, export_to_npz
from depth_anything_3.utils.export.write_format import write_format

__all__ = [
    "export",
    "export_to_colmap",
    "export_to_depth_vis",
    "export_to_glb",
    "export_to_gs_ply",
    "export_to_gs_video",
    "export_to_mini_npz",
    "export_to_npz",
]

logger = logging.getLogger(__name__)


def export(
    prediction: Prediction,
    export_format: str,
    export_dir: str | os.PathLike[str],
    **options: Mapping[str, Any] | Any,  # Any: values of options; those outside a mapping are ignored
) -> None:
    """Write a prediction; `depth_anything_3.export.export` does the same and returns the paths.

    Args:
        prediction: not changed.
        export_format: names joined with '-', see docs/exports.md.
        export_dir: folder; created if missing.
        options: options of each format, such as `glb={"num_max_points": 100_000}`. Others are ignored with a
            warning; upstream ignores them silently.

    Raises:
        InvalidInputError: a format or an option of a format is unknown. Nothing is written.
        UnsupportedError: the prediction lacks a field that a format requires, or a package is missing.
        ExportError: a file cannot be written.
    """
    formats = parse_formats(export_format)
    for name, given in options.items():
        if name not in format_names().split(", "):
            logger.warning("export ignores %s=%r; give options by format, such as glb={...}", name, given)
        elif not isinstance(given, Mapping):
            raise InvalidInputError(f"export: {name}={given!r} is not a mapping of options, such as {name}={{...}}")
    for one in formats:
        write_format(prediction, one.name, export_dir, options.get(one.name, {}))
