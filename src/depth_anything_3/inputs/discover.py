"""Find images by file, folder, pattern or list."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path

from depth_anything_3.errors import ImageReadError, InvalidInputError

__all__ = ["IMAGE_EXTENSIONS", "find_images"]

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Default extensions of image files in a folder."""

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
            - `@list.txt`: a UTF-8 text file with one file or folder per line, relative to the current folder; blank
              lines and lines that start with # are ignored.
        extensions: comma-separated, such as "png,jpg,jpeg"; case-insensitive.
        recursive: also search subfolders that are not hidden, each after the files beside it. A folder that is
            reachable by several paths is searched once, so circular links are safe.
        exclude: folders that the search does not enter, such as output folders; as explicit sources they are accepted.

    Raises:
        InvalidInputError: a folder, pattern or list contains no images, or a list cannot be read.
        ImageReadError: a folder cannot be listed.
    """
    wanted = {f".{one.strip().lstrip('.').lower()}" for one in extensions.split(",") if one.strip()}
    excluded = {os.path.realpath(one) for one in exclude}
    found: list[Path] = []
    for source in chain.from_iterable(map(_read_list, sources)):
        if os.path.isdir(source):  # unlike Path.is_dir, False for overlong names
            inside = [one for one in _files_in(Path(source), recursive, excluded) if one.suffix.lower() in wanted]
            if not inside:
                where = "in this folder or its subfolders" if recursive else "in this folder"
                raise InvalidInputError(f"{source}: no files ending in {', '.join(sorted(wanted))} {where}")
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


def _read_list(source: str) -> list[str]:
    """Return the sources in a list such as `@list.txt`; any other source is returned as it is."""
    if not source.startswith("@") or os.path.lexists(source):
        return [source]
    path = source[1:]
    try:
        # File names on Linux may not be valid UTF-8; Windows editors add a byte order mark.
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(f"{path or source}: the list of images cannot be read ({reason})") from error
    lines = [line.strip() for line in text.split("\n")]
    listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise InvalidInputError(f"{path}: the list of images is empty; write one path per line")
    return listed


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
