"""Turn predictions and failures into rows of plain values: encoded files, numbers and text."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.export import ExportOptions, export
from depth_anything_3.export.labels import depth_unit
from depth_anything_3.export.registry import ExportFormat, format_names
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.version import __version__

__all__ = ["ResultRow", "RowEncoder", "column_of"]

Plain = str | int | float | bytes | list[str] | None

_NAME = "row"  # of the temporary files


def column_of(one: ExportFormat) -> str:
    """Name the column of a format: "depth" for depth_png, else the format's name."""
    return "depth" if one.name == "depth_png" else one.name


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """What became of one image.

    Attributes:
        id: of the image.
        files: encoded files by column; empty if the image failed.
        depth_scale: depth of one step of `depth`; None without that column.
        unit: "metre", "canonical" or "relative"; None if the image failed.
        height, width: of the depth, in pixels; None if the image failed.
        model: name of the model.
        warnings: what is doubtful about the result.
        error: class and message of the error; None if there is a result.
    """

    id: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    depth_scale: float | None = None
    unit: str | None = None
    height: int | None = None
    width: int | None = None
    model: str = ""
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @classmethod
    def failed(cls, id: str, error: Exception, model: str) -> ResultRow:
        """Make the row of an image that failed."""
        return cls(id=id, model=model, error=f"{type(error).__name__}: {error}")

    def facts(self) -> dict[str, Plain]:
        """Return the values that are no files, in the order of the columns."""
        return {
            "depth_scale": self.depth_scale,
            "unit": self.unit,
            "height": self.height,
            "width": self.width,
            "model": self.model,
            "da3_version": __version__,
            "warnings": list(self.warnings),
            "error": self.error,
        }

    def as_json(self) -> bytes:
        """Return the id and the facts as JSON."""
        return json.dumps({"id": self.id, **self.facts()}).encode()


class RowEncoder:
    """Encodes predictions of one view in some formats. Use as a context manager: it owns a temporary folder.

    Args:
        formats: formats that write one file an image.
        options: options of their writers.

    Raises:
        InvalidInputError: a format writes several files.
    """

    def __init__(self, formats: Sequence[ExportFormat], options: ExportOptions | None = None) -> None:
        several = [one for one in formats if one.file_names is not None or one.name in ("feat_vis", "gs_video")]
        if several:
            raise InvalidInputError(
                f"export_format={'-'.join(one.name for one in formats)!r}: a row holds one file a format, and "
                f"{format_names(several)} has several; write these to a folder"
            )
        self.formats = tuple(formats)
        self._options = options
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # made when it is needed

    def encode(self, id: str, prediction: Prediction) -> ResultRow:
        """Encode a prediction; the files are those that `export` writes, byte for byte.

        Raises:
            DA3Error: a format cannot hold the prediction, or the temporary folder cannot be written.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="da3-")
        folder, files = Path(self._folder.name), {}
        try:
            for one in self.formats:
                paths = export(prediction, folder, [one], _NAME, self._options)
                files[column_of(one)] = next(path for path in paths if path.parent.name == one.name).read_bytes()
                for path in paths:
                    path.unlink()
        except OSError as error:
            raise error if isinstance(error, DA3Error) else DA3Error(f"{folder}: {error.strerror}") from error
        height, width = prediction.depth.shape[1:]
        return ResultRow(
            id=id,
            files=files,
            depth_scale=_depth_scale(files["depth"]) if "depth" in files else None,
            unit=depth_unit(prediction),
            height=height,
            width=width,
            model=prediction.model_name,
            warnings=prediction.warnings,
        )

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> RowEncoder:
        return self

    def __exit__(self, *left_by: object) -> None:
        self.close()


def _depth_scale(png: bytes) -> float:
    with Image.open(io.BytesIO(png)) as image:
        return float(image.info["depth_scale"])
