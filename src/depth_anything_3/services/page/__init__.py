"""The page of the server: its files, and the addresses that they are served at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

__all__ = ["PageFile", "read_page"]

# Said here, because on some machines the system's table says that modules are plain text, which browsers refuse.
_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its bytes.
        media_type: value of the header `Content-Type`.
    """

    content: bytes
    media_type: str


def read_page() -> dict[str, PageFile]:
    """Read the files of the page, by the path that each is served at: `/`, and `/page/...` for all others."""
    return dict(_files(resources.files(__package__), "/page/"))


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
            continue
        media_type = _MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            path = "/" if entry.name == "index.html" else prefix + entry.name
            yield path, PageFile(entry.read_bytes(), media_type)
