"""Find images by file, folder, pattern or list."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from depth_anything_3.errors import ImageReadError, InvalidInputError
from depth_anything_3.inputs.earlier_results import EarlierResults
from depth_anything_3.inputs.file_kind import ADDRESS
from depth_anything_3.inputs.image_list import check_source, read_list

__all__ = ["IMAGE_EXTENSIONS", "FoundImage", "find_images", "find_with_folders", "is_pattern"]

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Default extensions of image files in a folder."""

_MAX_SEARCHED = 10_000  # files of subfolders, for a hint
_MAX_SUFFIXES = 3  # in a message
_WILDCARDS = re.compile(r"[*?]")  # not brackets, which are common in photo names


@dataclass(frozen=True)
class FoundImage:
    """An image file.

    Attributes:
        path: of the file.
        folder: the folder that it was given in: the folder that was searched, the fixed part of a pattern, or the
            file's own folder. An image of a list is given in the current folder, if its path is relative.
    """

    path: Path
    folder: Path

    @classmethod
    def alone(cls, path: Path) -> FoundImage:
        """Return a file that was given by itself."""
        return cls(path, path.parent)


def find_images(
    sources: Sequence[str],
    extensions: str = IMAGE_EXTENSIONS,
    *,
    recursive: bool = False,
    exclude: Collection[Path] = (),
) -> list[Path]:
    """Find the paths of the images in a list of sources; see `find_with_folders`."""
    return [one.path for one in find_with_folders(sources, extensions, recursive=recursive, exclude=exclude)]


def find_with_folders(
    sources: Sequence[str],
    extensions: str = IMAGE_EXTENSIONS,
    *,
    recursive: bool = False,
    exclude: Collection[Path] = (),
    recursive_hint: str = "pass recursive=True",
) -> list[FoundImage]:
    """Find the images in a list of sources, in order and without duplicates.

    Results of earlier runs, which `manifest.json` of an export folder lists, are not taken from folders and patterns.

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
        recursive_hint: how the caller searches subfolders, for the message about a folder without images.

    Raises:
        InvalidInputError: a folder, pattern or list contains no images, or a source is an address or a list without @.
        InputFileError: a list cannot be read.
        ImageReadError: a folder cannot be listed.
    """
    wanted = {f".{one.strip().lstrip('.').lower()}" for one in extensions.split(",") if one.strip()}
    if not wanted:
        raise InvalidInputError(f"extensions={extensions!r}: give extensions of files, such as png,jpg")
    results = EarlierResults(exclude)
    found: list[FoundImage] = []
    for source in sources:
        check_source(source)
    for source, listed in chain.from_iterable(map(read_list, sources)):
        if ADDRESS.match(source) and not os.path.lexists(source):  # in a list; reading it fails, which costs one image
            found.append(FoundImage.alone(Path(source)))
        elif os.path.isdir(source):  # unlike Path.is_dir, False for overlong names
            folder = Path(source)
            inside = [one for one in _files_in(folder, recursive, results) if one.suffix.lower() in wanted]
            if not inside:
                hint = None if recursive else recursive_hint
                raise InvalidInputError(f"{source}: {_nothing_in(folder, wanted, hint, results)}")
            found += [FoundImage(one, folder) for one in inside]
        elif is_pattern(source):
            top, matching = _files_like(source, results)
            matching = [one for one in matching if one.suffix.lower() in wanted]
            if not matching:
                raise InvalidInputError(
                    f"{source}: no files ending in {', '.join(sorted(wanted))} match this pattern; "
                    f"the pattern must match files, not folders{results.note(top)}"
                )
            found += [FoundImage(one, top) for one in matching]
        else:
            path = Path(source)
            found.append(FoundImage(path, Path()) if listed and not path.is_absolute() else FoundImage.alone(path))
    unique: dict[Path, FoundImage] = {}
    for one in found:
        unique.setdefault(one.path, one)
    return list(unique.values())


def is_pattern(source: str) -> bool:
    """Whether a source is a pattern: not the path of a file that exists, and not an address."""
    return bool(_WILDCARDS.search(source)) and not os.path.lexists(source) and not ADDRESS.match(source)


def _nothing_in(folder: Path, wanted: Collection[str], hint: str | None, results: EarlierResults) -> str:
    """Say that a folder has no images, and what it has instead; `hint` is None if subfolders were searched."""
    try:
        others = Counter(one.suffix.lower() or "no suffix" for one in _files_in(folder, False, results))
    except ImageReadError:
        others = Counter()
    where = "in this folder or its subfolders" if hint is None else "in this folder"
    text = f"no files ending in {', '.join(sorted(wanted))} {where}{results.note(folder)}"
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(_MAX_SUFFIXES))
        text += f", which has other files: {listed}"
    elif not os.listdir(folder):
        text += ", which is empty"
    if hint is not None and any(one.suffix.lower() in wanted for one in islice(_below(folder, results), _MAX_SEARCHED)):
        text += f"; its subfolders have some: {hint}"
    return text


def _below(folder: Path, results: EarlierResults) -> Iterator[Path]:
    with suppress(ImageReadError):  # a subfolder that cannot be listed
        yield from _files_in(folder, True, results)


def _files_in(top: Path, recursive: bool, results: EarlierResults) -> Iterator[Path]:
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
        files = [folder / name for name, is_folder in visible if not is_folder]
        yield from (one for one in files if not results.contain(one))
        below = []
        for name in (name for name, is_folder in visible if is_folder and recursive):
            real = os.path.realpath(folder / name)
            if real not in entered and not results.exclude(folder / name):
                entered.add(real)
                below.append(folder / name)
        waiting += reversed(below)  # the first by name is visited next


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or no permission: reading it reports the error
        return False


def _files_like(pattern: str, results: EarlierResults) -> tuple[Path, list[Path]]:
    """Return the fixed folder of a pattern, and the files that match it, sorted.

    Hidden files match only a pattern that contains the dot.
    """
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if _WILDCARDS.search(part))
    top, wild = Path(*parts[:first]), list(parts[first:])
    if wild[-1] == "**":  # before Python 3.13 a trailing ** matches folders only
        wild.append("*")
    dotted = any(part.startswith(".") for part in wild)
    if not os.path.isdir(top):
        return top, []
    try:
        # Path.glob does not follow links under `**`; glob.glob would loop.
        matching = sorted(top.glob(os.path.join(*(part.replace("[", "[[]") for part in wild))))
    except ValueError as error:  # such as a**b, before Python 3.13
        raise InvalidInputError(f"{pattern}: this pattern is not accepted ({error})") from error
    visible = [
        path for path in matching if dotted or not any(part.startswith(".") for part in path.relative_to(top).parts)
    ]
    files = [path for path in visible if not os.path.isdir(path) and not results.contain(path)]
    excluded = {folder for folder in {path.parent for path in files} if results.exclude(folder)}
    return top, [path for path in files if path.parent not in excluded]
