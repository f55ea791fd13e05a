"""Read CSV and COCO lists of images."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from depth_anything_3.errors import InputFileError
from depth_anything_3.jobs.sources.address import is_address, shown
from depth_anything_3.jobs.sources.store import open_store, read_object
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["listed_images"]

_PATH_COLUMNS = ("path", "file_name", "filename", "image", "url")
_ID_COLUMNS = ("id", "image_id", "key")
_MAX_LIST_BYTES = 2 << 30


@dataclass(frozen=True)
class _Entry:
    """A line of a list."""

    path: str
    id: str | None


def listed_images(
    source: str, root: str | None = None, image_column: str | None = None, id_column: str | None = None
) -> Iterator[StoredImage]:
    """Yield the images of a list, in its order.

    Args:
        source: path or address of a CSV file with a header, or of a COCO JSON, whose `images` are taken.
        root: folder or prefix of relative paths; None: that of the list.
        image_column: column of the paths; None: the first of path, file_name, filename, image, url.
        id_column: column of the ids; None: id, image_id or key; without these the path as it is written.

    Raises:
        InputFileError: the list cannot be read, is empty or damaged, or has no such column.
        ImageReadError: the store of the list refuses.
    """
    text = _text(source)
    entries = _coco(source, text) if shown(source).lower().endswith(".json") else None
    entries = _csv(source, text, image_column, id_column) if entries is None else entries
    folder = root or (source.rpartition("/")[0] if is_address(source) else str(Path(source).parent))
    for one in entries:
        if is_address(one.path) or is_address(folder):
            address = one.path if is_address(one.path) else f"{folder.rstrip('/')}/{one.path.lstrip('/')}"
            yield StoredImage(one.id or shown(one.path), shown(address), partial(read_object, address), address)
        else:
            path = Path(folder) / one.path
            yield StoredImage(one.id or one.path, str(path), path, os.path.abspath(path))


def _text(source: str) -> str:
    try:
        data = open_store(source).read(source, _MAX_LIST_BYTES) if is_address(source) else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputFileError(f"{shown(source)}: the list of images cannot be read ({reason})") from None


def _csv(source: str, text: str, image_column: str | None, id_column: str | None) -> list[_Entry]:
    reader = csv.DictReader(StringIO(text, newline=""))
    try:
        columns = [one.strip() for one in reader.fieldnames or ()]
        reader.fieldnames = columns
        path = _chosen(source, columns, image_column, _PATH_COLUMNS, "a column of paths")
        id = _chosen(source, columns, id_column, _ID_COLUMNS, None)
        rows = list(reader)
    except csv.Error as error:
        raise InputFileError(f"{shown(source)}: the list of images is damaged ({error})") from None
    assert path is not None
    entries = [_Entry((row[path] or "").strip(), (row[id] or "").strip() or None if id else None) for row in rows]
    if not entries:
        raise InputFileError(f"{shown(source)}: the list of images is empty; write one image a line")
    if empty := [index for index, one in enumerate(entries, 2) if not one.path]:
        raise InputFileError(f"{shown(source)}: line {empty[0]} has no path; remove it, or complete it")
    return entries


def _chosen(
    source: str, columns: list[str], given: str | None, usual: tuple[str, ...], required: str | None
) -> str | None:
    name = given or next((one for one in usual if one in columns), None)
    if (name is None and required) or (name is not None and name not in columns):
        missing = required if name is None else f"the column {name!r}"
        raise InputFileError(
            f"{shown(source)}: has not {missing}; its columns are {', '.join(columns) or 'missing'}. Give one as "
            "image_column or id_column"
        )
    return name


def _coco(source: str, text: str) -> list[_Entry]:
    try:
        content: Any = json.loads(text)
        entries = [_Entry(str(one["file_name"]), str(one["id"])) for one in content["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            f"{shown(source)}: not a COCO list, whose `images` have `id` and `file_name` ({type(error).__name__}: "
            f"{error})"
        ) from None
    if not entries:
        raise InputFileError(f"{shown(source)}: the list of images is empty")
    return entries
