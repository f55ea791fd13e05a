"""Find the images that a user means by files, folders, patterns and lists."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path

from depth_anything_3.errors import ImageReadError, InvalidInputError

__all__ = ["IMAGE_EXTENSIONS", "find_images"]

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Extensions of the files of a folder that are images, unless others are given."""

_WILDCARDS = re.compile(r"[*?]")  # not brackets: more photos have them in their name than patterns do


def find_images(
    sources: Sequence[str],
    extensions: str = IMAGE_EXTENSIONS,
    *,
    recursive: bool = False,
    leave_out: Collection[Path] = (),
) -> list[Path]:
    """Find the images meant by a list of sources, in order and each once.

    Args:
        sources: any of these; one that exists is what it is, whatever it is called.

            - A file is taken whatever it is called, and also if it is missing: reading it will tell.
            - Of a folder, the files with these extensions that are not hidden (a Mac leaves a `._photo.jpg`, which is
              no picture, beside each photo it copies), sorted by name.
            - Of a pattern with `*`, `?` or `**` (folders at any depth), the same among the files that match, sorted.
            - `@list.txt` is a text file (UTF-8) with a file or folder a line, relative to the current folder; blank
              lines and those that begin with # are passed over.
        extensions: joined with commas, such as "png,jpg,jpeg"; capitals do not matter.
        recursive: of folders, also what is in the folders below that are not hidden, each after the files beside it.
            A folder that can be reached in two ways is entered once, so links in a circle end.
        leave_out: folders that are not entered on the way, such as those of results; as sources they are taken.

    Raises:
        InvalidInputError: a folder, pattern or list gives none, or a list cannot be read.
        ImageReadError: a folder cannot be listed.
    """
    wanted = {f".{one.strip().lstrip('.').lower()}" for one in extensions.split(",") if one.strip()}
    closed = {os.path.realpath(one) for one in leave_out}
    found: list[Path] = []
    for source in chain.from_iterable(map(_read_list, sources)):
        if os.path.isdir(source):  # unlike Path.is_dir, False for names that are too long
            inside = [one for one in _files_in(Path(source), recursive, closed) if one.suffix.lower() in wanted]
            if not inside:
                where = "in this folder or below" if recursive else "in this folder"
                raise InvalidInputError(f"{source}: no files ending in {', '.join(sorted(wanted))} {where}")
            found += inside
        elif _WILDCARDS.search(source) and not os.path.lexists(source):
            matching = [one for one in _files_like(source, closed) if one.suffix.lower() in wanted]
            if not matching:
                raise InvalidInputError(
                    f"{source}: no files ending in {', '.join(sorted(wanted))} match this pattern; "
                    "it must match files, not their folders"
                )
            found += matching
        else:
            found.append(Path(source))
    return list(dict.fromkeys(found))


def _read_list(source: str) -> list[str]:
    """The sources in a list such as `@list.txt`; any other source is returned alone."""
    if not source.startswith("@") or os.path.lexists(source):
        return [source]
    path = source[1:]
    try:
        # Names on Linux may be bytes that are no UTF-8; Windows' editors put a mark in front.
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(f"{path or source}: the list of images cannot be read ({reason})") from error
    lines = [line.strip() for line in text.split("\n")]
    listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise InvalidInputError(f"{path}: the list of images is empty; give a path a line")
    return listed


def _files_in(top: Path, recursive: bool, closed: Collection[str]) -> Iterator[Path]:
    """The files of a folder that are not hidden, sorted by name, then those of the folders below it."""
    entered = {os.path.realpath(top)}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:  # knows what is a folder without asking for each of 100,000 files
                visible = sorted((one.name, _is_folder(one)) for one in entries if not one.name.startswith("."))
        except OSError as error:
            raise ImageReadError(f"{folder}: the folder cannot be listed ({error.strerror})") from error
        yield from (folder / name for name, is_folder in visible if not is_folder)
        below = []
        for name in (name for name, is_folder in visible if is_folder and recursive):
            real = os.path.realpath(folder / name)
            if real not in entered and real not in closed:
                entered.add(real)
                below.append(folder / name)
        waiting += reversed(below)  # the first by name is taken next


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where one may not look: reading it will tell
        return False


def _files_like(pattern: str, closed: Collection[str]) -> Iterator[Path]:
    """The files that match a pattern, sorted. What is hidden matches only where the pattern has the dot itself."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _WILDCARDS.search(part))
    top, wild = Path(*parts[:first]), list(parts[first:])
    if wild[-1] == "**":  # before Python 3.13 this would be folders alone
        wild.append("*")
    dotted = any(part.startswith(".") for part in wild)
    if not os.path.isdir(top):
        return
    try:
        # Path.glob does not follow links under `**`, where glob.glob would walk in circles.
        matching = sorted(top.glob(os.path.join(*(part.replace("[", "[[]") for part in wild))))
    except ValueError as error:  # such as a**b, before Python 3.13
        raise InvalidInputError(f"{pattern}: this pattern is not accepted ({error})") from error
    for path in matching:
        inside = path.relative_to(top).parts
        hidden = not dotted and any(part.startswith(".") for part in inside)
        if not hidden and not os.path.isdir(path) and not _is_below(path, closed):
            yield path


def _is_below(path: Path, folders: Collection[str]) -> bool:
    real = Path(os.path.realpath(path.parent))
    return any(str(one) in folders for one in (real, *real.parents))
