"""Name the result files of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

__all__ = ["export_names"]

_MAX_NAME_BYTES = 200  # of a joined path; most file systems take 255 with number and suffix


def export_names(paths: Sequence[Path]) -> list[str]:
    """A different file name for each image's results.

    The image's stem; if another image has the same stem, its whole name; if another has that too, its path joined with
    underscores (its end, if it is too long for a file name); a number is appended if necessary.
    """
    stems = Counter(path.stem.casefold() for path in paths)  # some file systems take IMG and img for one
    names = Counter(path.name.casefold() for path in paths)
    taken: set[str] = set()
    result = []
    for path in paths:
        if stems[path.stem.casefold()] == 1:
            wish = path.stem
        elif names[path.name.casefold()] == 1:
            wish = path.name
        else:
            wish = "_".join(part for part in _below_here(path).parts if part not in (os.sep, ".."))
            if len(os.fsencode(wish)) > _MAX_NAME_BYTES:
                wish = os.fsencode(wish)[-_MAX_NAME_BYTES:].decode(errors="ignore")  # drops a letter that was cut
        wish = wish if wish.strip(".") else f"_{wish}"  # as the name of a folder, dots would lead out of it
        numbered = (f"{wish}_{number}" for number in count(2))
        name = next(one for one in chain([wish], numbered) if one.casefold() not in taken)
        taken.add(name.casefold())
        result.append(name)
    return result


def _below_here(path: Path) -> Path:
    try:
        return Path(os.path.relpath(path))
    except ValueError:  # Windows, another drive
        return path.relative_to(path.anchor)
