"""Find images by file, folder, pattern or list."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from depth_anything_3.errors import ImageReadError, InputFileError, InvalidInputError
from depth_anything_3.inputs.file_kind import ADDRESS, file_kind

__all__ = ["IMAGE_EXTENSIONS", "find_images"]

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Default extensions of image files in a folder."""

_LIST_SUFFIXES = (".txt", ".lst", ".list")
_MAX_SEARCHED = 10_000  # files of subfolders, for a hint
_MAX_SUFFIXES = 3  # in a message
_WILDCARDS = re.compile(r"[*?]")  # not brackets, which are common in photo names


def find_images(
    sources: Sequence[str],
    extensions: str = IMAGE_EXTENSIONS,
    *,
    recursive: bool = False,
    exclude: Collection[Path] = (),
) -> list[Path]:
    """Find the images in a list of sources, in order and without duplicates.

    Args:
        sources: any of these; an existing path takes precedence over a pattern or list of that name.

            - A file: accepted with any extension, even if it is missing (reading it then fails).
            - A folder: its files with these extensions, sorted by name. Hidden files are skipped: macOS leaves a
              `._photo.jpg`, which is not an image, beside each copied photo.
            - A pattern with `*`, `?` or `**` (folders at any depth): the matching files with these extensions, sorted.
            - `@list.txt`: a text file (UTF-8, or UTF-16 with a byte order mark) with one file or folder per line,
              relative to the current folder; blank lines and lines that start with # are ignored.
        extensions: comma-separated, such as "png,jpg,jpeg"; case-insensitive.
        recursive: also search subfolders that are not hidden, each after the files beside it. A folder that is
            reachable by several paths is searched once, so circular links are safe.
        exclude: folders that the search does not enter, such as output folders; as explicit sources they are accepted.

    Raises:
        InvalidInputError: a folder, pattern or list contains no images, or a source is an address or a list without @.
        InputFileError: a list cannot be read.
        ImageReadError: a folder cannot be listed.
    """
    wanted = {f".{one.strip().lstrip('.').lower()}" for one in extensions.split(",") if one.strip()}
    if not wanted:
        raise InvalidInputError(f"extensions={extensions!r}: give extensions of files, such as png,jpg")
    excluded = {os.path.realpath(one) for one in exclude}
    found: list[Path] = []
    for source in sources:
        _check_source(source)
    for source in chain.from_iterable(map(_read_list, sources)):
        if ADDRESS.match(source) and not os.path.lexists(source):  # in a list; reading it fails, which costs one image
            found.append(Path(source))
        elif os.path.isdir(source):  # unlike Path.is_dir, False for overlong names
            inside = [one for one in _files_in(Path(source), recursive, excluded) if one.suffix.lower() in wanted]
            if not inside:
                raise InvalidInputError(f"{source}: {_nothing_in(Path(source), wanted, recursive, excluded)}")
            found += inside
        elif _WILDCARDS.search(source) and not os.path.lexists(source):
            matching = [one for one in _files_like(source, excluded) if one.suffix.lower() in wanted]
            if not matching:
                raise InvalidInputError(
                    f"{source}: no files ending in {', '.join(sorted(wanted))} match this pattern; "
                    "the pattern must match files, not folders"
                )
            found += matching
        else:
            found.append(Path(source))
    return list(dict.fromkeys(found))


def _check_source(source: str) -> None:
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


def _nothing_in(folder: Path, wanted: Collection[str], recursive: bool, excluded: Collection[str]) -> str:
    """Say that a folder has no images, and what it has instead."""
    try:
        others = Counter(one.suffix.lower() or "no suffix" for one in _files_in(folder, False, excluded))
    except ImageReadError:
        others = Counter()
    where = "in this folder or its subfolders" if recursive else "in this folder"
    text = f"no files ending in {', '.join(sorted(wanted))} {where}"
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(_MAX_SUFFIXES))
        text += f", which has other files: {listed}"
    elif not os.listdir(folder):
        text += ", which is empty"
    if not recursive and any(one.suffix.lower() in wanted for one in islice(_below(folder, excluded), _MAX_SEARCHED)):
        text += "; its subfolders have some: pass recursive=True"
    return text


def _below(folder: Path, excluded: Collection[str]) -> Iterator[Path]:
    with suppress(ImageReadError):  # a subfolder that cannot be listed
        yield from _files_in(folder, True, excluded)


def _read_list(source: str) -> list[str]:
    """Return the sources in a list such as `@list.txt`; any other source is returned as it is."""
    if not source.startswith("@") or os.path.lexists(source):
        return [source]
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
    return listed


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


def _files_in(top: Path, recursive: bool, excluded: Collection[str]) -> Iterator[Path]:
    """Yield the visible files of a folder, sorted by name, then those of its subfolders."""
    entered = {os.path.realpath(top)}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:  # reports folders without a stat call per file
                visible = sorted((one.name, _is_folder(one)) for one in entries if not one.name.startswith("."))
        except OSError as error:
            raise ImageReadError(f"{folder}: the folder cannot be listed ({error.strerror})") from error
        yield from (folder / name for name, is_folder in visible if not is_folder)
        below = []
        for name in (name for name, is_folder in visible if is_folder and recursive):
            real = os.path.realpath(folder / name)
            if real not in entered and real not in excluded:
                entered.add(real)
                below.append(folder / name)
        waiting += reversed(below)  # the first by name is visited next


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or no permission: reading it reports the error
        return False


def _files_like(pattern: str, excluded: Collection[str]) -> Iterator[Path]:
    """Yield the files that match a pattern, sorted. Hidden files match only a pattern that contains the dot."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _WILDCARDS.search(part))
    top, wild = Path(*parts[:first]), list(parts[first:])
    if wild[-1] == "**":  # before Python 3.13 a trailing ** matches folders only
        wild.append("*")
    dotted = any(part.startswith(".") for part in wild)
    if not os.path.isdir(top):
        return
    try:
        # Path.glob does not follow links under `**`; glob.glob would loop.
        matching = sorted(top.glob(os.path.join(*(part.replace("[", "[[]") for part in wild))))
    except ValueError as error:  # such as a**b, before Python 3.13
        raise InvalidInputError(f"{pattern}: this pattern is not accepted ({error})") from error
    for path in matching:
        inside = path.relative_to(top).parts
        hidden = not dotted and any(part.startswith(".") for part in inside)
        if not hidden and not os.path.isdir(path) and not _is_below(path, excluded):
            yield path


def _is_below(path: Path, folders: Collection[str]) -> bool:
    real = Path(os.path.realpath(path.parent))
    return any(str(one) in folders for one in (real, *real.parents))
