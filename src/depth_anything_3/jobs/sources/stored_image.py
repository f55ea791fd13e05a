"""`StoredImage`: an image in a store, an archive or a table, with its id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from depth_anything_3.errors import DA3Error

__all__ = ["StoredImage"]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image that is not decoded, and perhaps not read yet.

    Attributes:
        id: names its results; the same in every run over the same source.
        label: name in messages: the address without credentials, or the file and the member.
        data: the bytes of its file, a path, a function that reads the bytes, or the error.
        address: where another process can read it, a path or address, perhaps with credentials; empty if nowhere.
        is_archive: the address is that of a tar or parquet file, which has images inside; `data` is not to be used.
    """

    id: str
    label: str
    data: bytes | Path | Callable[[], bytes] | DA3Error = field(repr=False)  # a function may hold credentials
    address: str = field(default="", repr=False)
    is_archive: bool = False
