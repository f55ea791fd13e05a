"""Read images and ids from the rows of a batch, whatever engine made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_3 import errors
from depth_anything_3.errors import DA3Error, ImageReadError, ImageTypeError, InvalidInputError
from depth_anything_3.inputs.file_kind import ADDRESS
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.jobs.sources.address import shown
from depth_anything_3.jobs.sources.store import read_object

__all__ = ["IMAGE_COLUMNS", "Batch", "ids_of", "images_of", "pixels_columns"]

Batch = Mapping[str, Sequence[Any]]  # Any: values of any type, checked one by one
"""Rows by column: lists, tuples or arrays of one length."""

IMAGE_COLUMNS = ("bytes", "image", "jpg", "jpeg", "png", "webp")
"""Columns that may hold images; the first that a batch has is used."""

PIXELS = ("pixels", "pixels_height", "pixels_width")


def pixels_columns(batch: Batch) -> bool:
    """Whether a batch comes from `DepthPreprocessor`."""
    return all(one in batch for one in PIXELS)


def ids_of(batch: Batch) -> list[str]:
    """Return the ids of the rows: the column `id`, else `path`, else of the images, else their numbers."""
    for name in ("id", "__key__", "path"):
        if name in batch:
            return [shown(str(one)) if name == "path" else str(one) for one in batch[name]]
    rows = _length(batch)
    column = next((batch[one] for one in IMAGE_COLUMNS if one in batch), [None] * rows)
    paths = [one.get("path") if isinstance(one, Mapping) else None for one in column]
    return [shown(str(path)) if path else str(index) for index, path in enumerate(paths)]


def images_of(batch: Batch, ids: Sequence[str]) -> list[ImageSource]:
    """Return the images of the rows; a row without one gets its error as data.

    Raises:
        InvalidInputError: the batch has no column with images or paths.
    """
    if pixels_columns(batch):
        return [ImageSource(one, _pixels(batch, index, one)) for index, one in enumerate(ids)]
    for name in IMAGE_COLUMNS:
        if name in batch:
            return [ImageSource(id, _image(value, id)) for value, id in zip(batch[name], ids, strict=True)]
    if "path" in batch:
        return [ImageSource(id, _file(str(value))) for value, id in zip(batch["path"], ids, strict=True)]
    raise InvalidInputError(
        f"the batch has the columns {', '.join(map(str, batch))}; one of {', '.join(IMAGE_COLUMNS)} must hold the "
        "images, or path their paths"
    )


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values()), ()))


def _image(value: Any, label: str) -> Any:  # Any: of a row
    """Return what an `ImageSource` holds: bytes, pixels, a path, or the error."""
    if isinstance(value, Mapping):  # as Hugging Face datasets write it
        data, path = value.get("bytes"), value.get("path")
        return _image(data, label) if data is not None else _file(str(path)) if path else _image(None, label)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value if len(value) else ImageReadError(f"{label}: the image is empty")
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.size:
        if value.ndim == 1:
            return value.tobytes()
        if value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (3, 4)):
            return value
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        kind = f"array of {value.dtype}, {'x'.join(map(str, value.shape))}"
    return ImageTypeError(f"{label}: the image is {kind}; give the bytes of a file, or a uint8 array of HxWx3")


def _file(path: str) -> Any:  # Any: as in `_image`
    if not ADDRESS.match(path):
        return Path(path)
    try:
        return read_object(path)
    except DA3Error as error:
        return error


def _pixels(batch: Batch, index: int, label: str) -> Any:  # Any: as in `_image`
    data, height, width = (batch[one][index] for one in PIXELS)
    earlier = batch["error"][index] if "error" in batch else None
    if isinstance(earlier, str) and earlier:  # the preprocessor's
        name, _, message = earlier.partition(": ")
        kind = getattr(errors, name, None)
        return kind(message) if isinstance(kind, type) and issubclass(kind, DA3Error) else ImageReadError(earlier)
    try:
        return np.frombuffer(data, np.uint8).reshape(int(height), int(width), 3)
    except (TypeError, ValueError) as error:
        return ImageTypeError(f"{label}: pixels, pixels_height and pixels_width do not fit together ({error})")
