"""Save a prediction to one file or to a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export.checks import check_export_dir, check_formats
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.export.naming import ResultNames
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.export.results import export
from depth_anything_3.export.suffixes import format_of_suffix
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["save"]

_FOLDER_FORMATS = "npz-depth_color"


def save(
    prediction: Prediction,
    path: str | os.PathLike[str],
    formats: str | None = None,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write a prediction to a file or a folder; see `Prediction.save`."""
    target = Path(path)
    is_folder = target.is_dir() or not target.suffix or os.fspath(path).endswith(("/", os.sep))
    if is_folder:
        check_export_dir(target)
        return export(prediction, target, formats or _FOLDER_FORMATS, _name(prediction), options)
    chosen = format_of_suffix(target, formats)
    _write_file(prediction, target, chosen, options or ExportOptions())
    return [target]


def _write_file(prediction: Prediction, target: Path, one: ExportFormat, options: ExportOptions) -> None:
    """Write a format to a file of any name.

    Raises:
        InvalidInputError: the format has one file per view, and there are several.
        UnsupportedError: the prediction lacks what the format requires.
        ExportError: the file cannot be written.
    """
    check_formats([one], AvailableFields.of(prediction), options)
    count = len(prediction.depth)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the file is moved and not copied.
        folder = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror or error})") from error
    name = target.stem
    try:
        written = one.write(prediction, folder, name, options.of(one))
        if len(written) != 1:
            raise InvalidInputError(
                f"{target}: {one.name} has one file per view, and the prediction has {count} views; give a folder, or "
                "save the image of one view with prediction.to_image(0).save(...)"
            )
        with atomic_write(target) as temporary:
            os.replace(written[0], temporary)
    except ExportError as error:
        own = str(one.image_files(folder, name, options.of(one))[0])
        raise ExportError(str(error).replace(own, str(target))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(prediction: Prediction) -> str | None:
    """Name the files of one view after its source; None: views are numbered."""
    if len(prediction.depth) != 1 or not AvailableFields.of(prediction).paths:
        return None
    return ResultNames().of(FoundImage.alone(Path(prediction.sources[0])))
