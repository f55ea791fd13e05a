"""Read lists of images, and check sources before they are searched."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.inputs.file_kind import ADDRESS, file_kind

__all__ = ["check_source", "read_list"]

_LIST_SUFFIXES = (".txt", ".lst", ".list")


def check_source(source: str) -> None:
    """Raise an error for an address, and for a list without @."""
    if os.path.lexists(source):
        if Path(source).suffix.lower() in _LIST_SUFFIXES and _is_text(source):
            raise InvalidInputError(f"{source}: a text file, not an image; if it lists images, give @{source}")
    elif (address := ADDRESS.match(source)) is not None:
        hint = "give the path alone, without file://" if address[0].startswith("file:") else "download it first"
        raise InvalidInputError(f"{source}: images are read from disk, not from addresses; {hint}")


def _is_text(source: str) -> bool:
    if not os.path.isfile(source):
        return False
    try:
        with open(source, "rb") as file:
            kind = file_kind(file.read(1024))
    except OSError:  # reading it reports the error
        return False
    return kind is not None and kind.is_text


def read_list(source: str) -> list[tuple[str, bool]]:
    """Return the sources in a list such as `@list.txt`, or a source itself; each with whether it comes from a list.

    Raises:
        InputFileError: the list cannot be read.
        InvalidInputError: it is empty.
    """
    if not source.startswith("@") or os.path.lexists(source):
        return [(source, False)]
    path = source[1:]
    try:
        text = _decoded(Path(path).read_bytes())
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputFileError(f"{path or source}: the list of images cannot be read ({reason})") from error
    lines = [line.strip() for line in text.split("\n")]
    listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise InvalidInputError(f"{path}: the list of images is empty; write one path per line")
    return [(line, True) for line in listed]


def _decoded(data: bytes) -> str:
    """Decode a list: UTF-16, which PowerShell's `>` writes, if it has a byte order mark, else UTF-8.

    Raises:
        ValueError: it is no text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="surrogatepass")
    if b"\0" in data:
        kind = file_kind(data)
        raise ValueError(f"it is {kind.name}, not text" if kind else "it is not text in UTF-8 or UTF-16")
    # File names on Linux may not be valid UTF-8; Windows editors add a byte order mark.
    return data.decode("utf-8-sig", errors="surrogateescape")
