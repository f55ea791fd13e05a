"""Write predictions in the requested formats."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.export.checks import check_formats
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import Formats, parse_formats
from depth_anything_3.prediction import Prediction

__all__ = ["export", "result_files"]


def export(
    prediction: Prediction,
    export_dir: Path,
    formats: Formats,
    name: str | None = None,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write a prediction in each format.

    Args:
        prediction: not changed.
        export_dir: output folder; created if missing. Existing files are replaced atomically.
        formats: names joined with '-', or a sequence of names or of rows that `parse_formats` returned.
        name: file name of an independent image, without suffix (`depth_png/NAME.png`). None: the prediction is of
            views, which are numbered, in upstream's layout (`depth_vis/0000.jpg`, `exports/npz/results.npz`).
        options: options of the writers; None: the defaults.

    Returns:
        Paths of the files.

    Raises:
        InvalidInputError: a format or option is unknown. Nothing is written.
        UnsupportedError: the prediction lacks a field that a format requires, or a package is missing. Nothing is
            written.
        ExportError: a file cannot be written.
    """
    options = ExportOptions() if options is None else options
    written: list[Path] = []
    for one in check_formats(formats, AvailableFields.of(prediction), options):
        written += one.write(prediction, export_dir, name, options.of(one))
    return list(dict.fromkeys(written))  # glb also writes depth_vis, which may be requested too


def result_files(export_dir: Path, formats: Formats, name: str, options: ExportOptions | None = None) -> list[Path]:
    """List the files that `export` writes for an independent image of this name.

    Raises:
        InvalidInputError: a format or option is unknown.
    """
    options = ExportOptions() if options is None else options
    return [file for one in parse_formats(formats) for file in one.image_files(export_dir, name, options.of(one))]
