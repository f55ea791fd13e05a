"""List the parts of packed results, and the ids in them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.jobs.sinks.place import Place

__all__ = ["ids_file", "ids_of_part", "part_names"]

_PART = re.compile(r"(parquet|webdataset)/(depth|errors)-\d{5,}-[0-9a-f]{8}\.(tar|parquet)")


def part_names(place: Place, names: Collection[str] | None = None) -> set[str]:
    """Return the parts of a place.

    Args:
        place: a folder or a prefix.
        names: its files, if they have been listed.
    """
    return set(filter(_PART.fullmatch, place.names() if names is None else names))


def ids_file(part: str) -> str:
    """Name the list of the ids of a part."""
    folder, _, name = part.rpartition("/")
    return f"{folder}/_{name}.ids.json"


def ids_of_part(place: Place, part: str) -> set[str]:
    """Read the ids in a part; none if another shard has removed it.

    Raises:
        InvalidInputError: the list is missing or damaged.
    """
    content = place.read(ids_file(part))
    if content is None and part not in place.names():
        return set()
    try:
        return set(json.loads(content or b""))
    except (ValueError, TypeError):
        raise InvalidInputError(
            f"{place.name}/{ids_file(part)}: is missing or damaged, so it is not known which images the part has; "
            "remove both to compute them anew"
        ) from None
