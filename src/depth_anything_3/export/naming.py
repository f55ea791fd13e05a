"""Name the result files of images and videos."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS, FoundImage
from depth_anything_3.inputs.video import VideoInput

__all__ = ["ResultNames", "result_names", "video_name"]

_MAX_BYTES = 180  # of a name; file systems allow 255 with the number of a frame and a suffix
_HASH_DIGITS = 8

_OTHER_IMAGES = ("gif", "ico", "j2k", "jfif", "jp2", "pbm", "pgm", "pnm", "ppm", "qoi", "sgi", "tga")
_IMAGE_SUFFIXES = frozenset(f".{one}" for one in (*IMAGE_EXTENSIONS.split(","), *_OTHER_IMAGES))
_VIDEO_SUFFIXES = frozenset({".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm"})


def result_names(images: Sequence[FoundImage], recorded: Callable[[Path], str | None] = lambda path: None) -> list[str]:
    """Make the file name, without suffix, of the results of each image; it may contain folders.

    The name depends on the image and the folder it was given in, not on the other images of a run: its path relative to
    that folder, without suffix (`sub/a` for `photos/sub/a.jpg`, if `photos` was given). The suffix is kept if another
    image beside the file has the same stem (`a.jpg` and `a.png`). Long names are shortened, and end in a hash.

    An image that would get the name of another image of the run, from another folder, gets a hash of its path appended.

    Args:
        images: the images, with the folder that each was given in.
        recorded: returns the name that an earlier run in the same export folder gave to an image. The choice between
            a name with and without suffix is kept, so that a new file beside an image does not rename its results.
    """
    names = ResultNames(recorded)
    return [names.of(one) for one in images]


class ResultNames:
    """Names the results of one image after another, by the rule of `result_names`."""

    def __init__(self, recorded: Callable[[Path], str | None] = lambda path: None) -> None:
        self._recorded = recorded
        self._siblings = _Siblings(_IMAGE_SUFFIXES)
        self._taken: dict[str, str] = {}  # the path that each name stands for

    def of(self, image: FoundImage) -> str:
        """Name the results of a file; a file that is given twice has one name."""
        path, absolute = image.path, os.path.abspath(image.path)
        parents = _parents(image)
        short, whole = (_joined([*parents, one]) for one in (path.stem, path.name))
        earlier = self._recorded(path)
        name = earlier if earlier in (short, whole) else whole if self._siblings.share_stem(path) else short
        if self._taken.setdefault(_key(name), absolute) != absolute:
            name = f"{name}_{_hash(absolute)}"
            self._taken[_key(name)] = absolute
        return name


def video_name(source: VideoInput) -> str:
    """Name the results of a video.

    Of a file: its stem, or its file name if another video beside it has the same stem. Of an image sequence or an
    address: the last part of it that is not only a pattern.
    """
    if not isinstance(source, (str, os.PathLike)):
        return "camera" if isinstance(source, int) else "video"
    text = os.fsdecode(source)
    if text == "-":
        return "stdin"
    is_address = "://" in text
    if not is_address and os.path.isfile(text):
        path = Path(os.path.abspath(text))
        return _joined([path.name if _Siblings(_VIDEO_SUFFIXES).share_stem(path) else path.stem])
    text = text.partition("?")[0] if is_address else os.path.abspath(text)  # without the query of an address
    for part in reversed(re.split(r"[/\\]", text)):
        stem = re.sub(r"%0?\d*d|[*?]", "", Path(part).stem).rstrip("_-.").lstrip(".")
        if stem:
            return _joined([re.sub(r"[^\w.-]+", "_", stem) if is_address else stem])
    return "video"


class _Siblings:
    """Counts the stems of the files in folders, reading each folder once."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self._suffixes = suffixes
        self._stems: dict[Path, Counter[str]] = {}

    def share_stem(self, path: Path) -> bool:
        """Whether another file with one of the suffixes, in the same folder, has the stem of `path`."""
        if path.parent not in self._stems:
            self._stems[path.parent] = self._read(path.parent)
        own = 1 if path.suffix.lower() in self._suffixes else 0
        return self._stems[path.parent][_key(path.stem)] > own

    def _read(self, folder: Path) -> Counter[str]:
        try:
            with os.scandir(folder) as entries:
                files = [Path(one.name) for one in entries]
        except OSError:
            return Counter()
        return Counter(_key(one.stem) for one in files if one.suffix.lower() in self._suffixes)


def _parents(image: FoundImage) -> tuple[str, ...]:
    """Return the folders between the folder that an image was given in and the image."""
    try:
        parents = image.path.relative_to(image.folder).parts[:-1]
    except ValueError:
        return ()
    return () if ".." in parents else parents


def _joined(parts: Sequence[str]) -> str:
    return "/".join(_shortened(one) for one in parts)


def _shortened(part: str) -> str:
    """Make a file name of at most `_MAX_BYTES` bytes."""
    part = part if part.strip(".") else f"_{part}"  # "." and ".." would name other folders
    encoded = os.fsencode(part)
    if len(encoded) <= _MAX_BYTES:
        return part
    # "ignore" drops a character that was cut in two.
    start = encoded[: _MAX_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{start}_{_hash(part)}"


def _key(name: str) -> str:
    """Return what is equal for names that some file systems do not distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:_HASH_DIGITS]
