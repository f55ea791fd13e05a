"""Tell images in stores, archives and lists from image files and folders, by their names."""

from __future__ import annotations

import os

from depth_anything_3.jobs.sources.address import is_address, shown

__all__ = ["ARCHIVES", "TARS", "is_stored", "kind_of"]

TARS = (".tar", ".tar.gz", ".tgz")
ARCHIVES = (*TARS, ".parquet")
_LISTS = (".csv", ".json")


def kind_of(name: str) -> str | None:
    """Return the ending of an archive or a list; None for other names."""
    lower = shown(name).lower()
    return next((one for one in (*ARCHIVES, *_LISTS) if lower.endswith(one)), None)


def is_stored(source: str) -> bool:
    """Whether a source is an address, or a tar, parquet file or CSV or JSON list on disk (or a pattern of these)."""
    return is_address(source) or (kind_of(source) is not None and not os.path.isdir(source))
