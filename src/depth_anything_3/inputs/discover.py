"""Find images by file, folder, pattern or list."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from depth_anything_3.errors import ImageReadError, InvalidInputError

__all__ = ["IMAGE_EXTENSIONS", "MANIFEST", "FoundImage", "find_images", "find_with_folders"]

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Default extensions of image files in a folder."""

MANIFEST = "manifest.json"
"""Name of the file that lists which entries of an export folder are results; see `jobs.manifest`."""

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
) -> list[FoundImage]:
    """Find the images in a list of sources, in order and without duplicates.

    Results of earlier runs, which `manifest.json` of an export folder lists, are not taken from folders and patterns.

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
    results = _Results(exclude)
    found: list[FoundImage] = []
    for source, listed in chain.from_iterable(map(_read_list, sources)):
        if os.path.isdir(source):  # unlike Path.is_dir, False for overlong names
            folder = Path(source)
            inside = [one for one in _files_in(folder, recursive, results) if one.suffix.lower() in wanted]
            if not inside:
                where = "in this folder or its subfolders" if recursive else "in this folder"
                raise InvalidInputError(
                    f"{source}: no files ending in {', '.join(sorted(wanted))} {where}{results.note(folder)}"
                )
            found += [FoundImage(one, folder) for one in inside]
        elif _WILDCARDS.search(source) and not os.path.lexists(source):
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


class _Results:
    """The results of earlier runs, which are not input.

    Args:
        exclude: further folders that are entered only as explicit sources.
    """

    def __init__(self, exclude: Collection[Path]) -> None:
        self._excluded = {os.path.realpath(one) for one in exclude}
        self._listed: dict[Path, frozenset[str]] = {}
        self._within: dict[Path, bool] = {}

    def contain(self, path: Path) -> bool:
        """Whether a file or folder is a result of an earlier run, or in a folder of results."""
        return self._is_within(path.parent) or path.name in self._listed_in(path.parent)

    def exclude(self, folder: Path) -> bool:
        """Whether a search does not enter a folder."""
        real = Path(os.path.realpath(folder))
        return any(str(one) in self._excluded for one in (real, *real.parents)) or self._is_within(folder)

    def note(self, folder: Path) -> str:
        """Return a hint for a folder without images."""
        has_results = self._is_within(folder) or self._listed_in(folder)
        return "; results of earlier runs are not input" if has_results else ""

    def _is_within(self, folder: Path) -> bool:
        if folder not in self._within:
            real = Path(os.path.realpath(folder))
            self._within[folder] = any(one.name in self._listed_in(one.parent) for one in (real, *real.parents))
        return self._within[folder]

    def _listed_in(self, folder: Path) -> frozenset[str]:
        """Return the entries of a folder that its manifest lists as results."""
        if folder not in self._listed:
            self._listed[folder] = _read_manifest(folder / MANIFEST)
        return self._listed[folder]


def _read_manifest(path: Path) -> frozenset[str]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return frozenset(content["results"]) if "layout" in content else frozenset()
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()  # no manifest, or that of another program


def _read_list(source: str) -> list[tuple[str, bool]]:
    """Return the sources in a list such as `@list.txt`, or a source itself; each with whether it comes from a list."""
    if not source.startswith("@") or os.path.lexists(source):
        return [(source, False)]
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
    return [(line, True) for line in listed]


def _files_in(top: Path, recursive: bool, results: _Results) -> Iterator[Path]:
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


def _files_like(pattern: str, results: _Results) -> tuple[Path, list[Path]]:
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
