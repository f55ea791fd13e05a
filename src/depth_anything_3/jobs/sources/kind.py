"""Tell images in stores, archives and lists from image files and folders, by their names."""

from __future__ import annotations

import os

from depth_anything_3.inputs.image_list import read_list
from depth_anything_3.jobs.sources.address import is_address, shown

__all__ = ["ARCHIVES", "TARS", "is_stored", "kind_of", "lines_of"]

TARS = (".tar", ".tar.gz", ".tgz")
ARCHIVES = (*TARS, ".parquet")
_LISTS = (".csv", ".json")


def kind_of(name: str) -> str | None:
    """Return the ending of an archive or a list; None for other names."""
    lower = shown(name).lower()
    return next((one for one in (*ARCHIVES, *_LISTS) if lower.endswith(one)), None)


def is_stored(source: str) -> bool:
    """Whether a source is an address, a tar, parquet file or CSV or JSON list on disk (or a pattern), or lists these.

    Raises:
        InputFileError, InvalidInputError: a list such as `@list.txt` cannot be read, or is empty.
    """
    lines = lines_of(source)
    if lines is not None:
        return any(map(_is_stored, lines))
    return _is_stored(source)


def lines_of(source: str) -> list[str] | None:
    """Return the sources in a list such as `@list.txt`; None for other sources. Errors as in `is_stored`."""
    found = read_list(source)
    return [line for line, _ in found] if any(is_listed for _, is_listed in found) else None


def _is_stored(source: str) -> bool:
    return is_address(source) or (kind_of(source) is not None and not os.path.isdir(source))
