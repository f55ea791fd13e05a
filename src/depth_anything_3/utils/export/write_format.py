"""Write a prediction in one format, whose options upstream's clients give by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.registry import find_format
from depth_anything_3.prediction import Prediction

__all__ = ["write_format"]


def write_format(
    prediction: Prediction,
    name: str,
    export_dir: str | os.PathLike[str],
    given: Mapping[str, Any],  # Any: values of options
) -> list[Path]:
    """Write a prediction in one format.

    Args:
        prediction: not changed.
        name: of the format.
        export_dir: folder; created if missing.
        given: options of the format.

    Returns:
        Paths of the files.

    Raises:
        InvalidInputError, UnsupportedError, ExportError: see `depth_anything_3.export.export`.
    """
    one = find_format(name)
    rest = _without_images(prediction, given) if name == "colmap" else dict(given)
    # Options that `ExportOptions` has as fields override those of the same name in `export_kwargs`.
    shared = {option.name: option.metadata.get("parameter", option.name) for option in fields(one.options_class())}
    known = {field.name for field in fields(ExportOptions)}
    parameters = {shared[key]: rest.pop(key) for key in list(rest) if shared.get(key) in known}
    return export(prediction, Path(export_dir), name, options=ExportOptions(**parameters, export_kwargs={name: rest}))


def _without_images(prediction: Prediction, given: Mapping[str, Any]) -> dict[str, Any]:  # Any: values of options
    """Remove upstream's arguments of `colmap` that describe the images, which a prediction knows."""
    rest = dict(given)
    rest.pop("process_res_method", None)  # the writer compares the sizes themselves
    paths = rest.pop("image_paths", None)
    if paths is not None and tuple(map(os.fspath, paths)) != tuple(prediction.sources):
        raise UnsupportedError("colmap: image_paths are not the files that the prediction was computed from (sources)")
    return rest
