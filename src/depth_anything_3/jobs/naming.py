"""Name the result files of images and videos."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from depth_anything_3.inputs.video import VideoInput

__all__ = ["export_names", "video_name"]

_MAX_NAME_BYTES = 200  # of a joined path; most file systems allow 255 with number and suffix


def export_names(paths: Sequence[Path]) -> list[str]:
    """Make a unique file name, without suffix, for the results of each image.

    This is the stem of the image. If several images have that stem, it is the file name; if several have that name, it
    is the path joined with underscores, shortened from the left if too long. A number is appended if necessary.
    """
    stems = Counter(path.stem.casefold() for path in paths)  # case-insensitive, as some file systems are
    names = Counter(path.name.casefold() for path in paths)
    taken: set[str] = set()
    result = []
    for path in paths:
        if stems[path.stem.casefold()] == 1:
            base = path.stem
        elif names[path.name.casefold()] == 1:
            base = path.name
        else:
            base = "_".join(part for part in _relative(path).parts if part not in (os.sep, ".."))
            if len(os.fsencode(base)) > _MAX_NAME_BYTES:
                # "ignore" drops a character that was cut in two.
                base = os.fsencode(base)[-_MAX_NAME_BYTES:].decode(errors="ignore")
        base = base if base.strip(".") else f"_{base}"  # "." and ".." would name other folders
        numbered = (f"{base}_{number}" for number in count(2))
        name = next(one for one in chain([base], numbered) if one.casefold() not in taken)
        taken.add(name.casefold())
        result.append(name)
    return result


def video_name(source: VideoInput) -> str:
    """Name the results of a source: its stem, or that of the folder if the stem is only a pattern."""
    if not isinstance(source, (str, os.PathLike)):
        return "camera" if isinstance(source, int) else "video"
    text = os.fsdecode(source)
    if text == "-":
        return "stdin"
    text = text.partition("?")[0]  # the query of a URL
    for part in reversed(re.split(r"[/\\]", text if "://" in text else os.path.abspath(text))):
        stem = re.sub(r"%0?\d*d|[*?]", "", Path(part).stem).rstrip("_-.").lstrip(".")
        if stem:
            return re.sub(r"[^\w.-]+", "_", stem)
    return "video"


def _relative(path: Path) -> Path:
    """Make a path relative to the current folder."""
    try:
        return Path(os.path.relpath(path))
    except ValueError:  # on another drive of Windows
        return path.relative_to(path.anchor)
