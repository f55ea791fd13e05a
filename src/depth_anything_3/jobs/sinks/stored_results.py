"""List which results of stored images a place has, where a manifest does not say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from depth_anything_3.export.registry import FORMATS
from depth_anything_3.jobs.sinks.names import file_name
from depth_anything_3.jobs.sinks.part_ids import ids_of_part, part_names
from depth_anything_3.jobs.sinks.place import LocalPlace, Place

__all__ = ["StoredResults", "results_in"]


@dataclass(frozen=True)
class StoredResults:
    """Images whose results are complete.

    Attributes:
        counts: by name, the number of results of the image.
        name_of: makes the name of an id.
    """

    counts: Counter[str]
    name_of: Callable[[str], str]

    def __contains__(self, id: str) -> bool:
        return self.name_of(id) in self.counts


def results_in(place: Place) -> StoredResults | None:
    """Return the packed results of a place, or the files in a store; None: files on disk, which have a manifest.

    Raises:
        InvalidInputError: the list of the ids of a part is missing or damaged.
        ImageReadError: the store refuses.
    """
    if isinstance(place, LocalPlace) and not any((place.folder / one).is_dir() for one in ("parquet", "webdataset")):
        return None
    names = place.names()
    if parts := part_names(place, names):
        complete = (one for one in parts if "/errors-" not in one)
        return StoredResults(Counter(id for one in complete for id in ids_of_part(place, one)), str)
    if isinstance(place, LocalPlace):
        return None
    # An image is complete when all its files are there.
    files: dict[str, set[str]] = {}
    suffixes = {one.name: one.suffix for one in FORMATS}
    for name in names:
        folder, _, file = name.partition("/")
        if folder in suffixes:
            files.setdefault(folder, set()).add(file.removesuffix(suffixes[folder]))
    return StoredResults(Counter(set.intersection(*files.values()) if files else ()), file_name)
