"""Write a prediction in one format, whose options upstream's clients give by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from depth_anything_3.errors import ShapeMismatchError, UnsupportedError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.colmap.image_sizes import image_sizes
from depth_anything_3.export.registry import find_format
from depth_anything_3.inputs.options import PreprocessOptions
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
    one, rest = find_format(name), dict(given)
    if name == "colmap":
        rest.pop("process_res_method", None)  # the writer compares the sizes themselves
        prediction = _with_images(prediction, rest.pop("image_paths", None))
    # Options that `ExportOptions` has as fields override those of the same name in `export_kwargs`.
    shared = {option.name: option.metadata.get("parameter", option.name) for option in fields(one.options_class())}
    known = {field.name for field in fields(ExportOptions)}
    parameters = {shared[key]: rest.pop(key) for key in list(rest) if shared.get(key) in known}
    return export(prediction, Path(export_dir), name, options=ExportOptions(**parameters, export_kwargs={name: rest}))


def _with_images(prediction: Prediction, paths: Sequence[str | os.PathLike[str]] | None) -> Prediction:
    """Add the files of the views to a prediction that was not made by the network.

    Raises:
        UnsupportedError: the prediction was computed from other files.
        ShapeMismatchError: there is not one file for each view.
        ImageReadError: a file cannot be read.
    """
    if paths is None:
        return prediction
    names = tuple(os.fspath(path) for path in paths)
    if prediction.sources:
        if tuple(map(os.path.abspath, names)) != tuple(map(os.path.abspath, prediction.sources)):
            raise UnsupportedError("colmap: image_paths are not the files that the prediction has (sources)")
        return prediction
    if len(names) != len(prediction.depth):
        raise ShapeMismatchError(f"colmap: {len(names)} image_paths for {len(prediction.depth)} views; give one each")
    sizes = [image_sizes(Path(name), PreprocessOptions()) for name in names]
    return replace(prediction, sources=names, source_hw=tuple(upright for upright, _ in sizes))
