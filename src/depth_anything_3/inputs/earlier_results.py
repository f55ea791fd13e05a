"""Find the results of earlier runs, which are not input."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["MANIFEST", "SHARDS", "EarlierResults"]

MANIFEST = "manifest.json"
"""Name of the file that lists which entries of an export folder are results; see `jobs.manifest`."""

SHARDS = "shards"
"""Name of the folder in an export folder with the manifest and the report of each shard; see `jobs.shards`."""


class EarlierResults:
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
            manifests = [folder / MANIFEST]
            if os.path.isdir(folder / SHARDS):
                manifests += sorted((folder / SHARDS).glob("manifest-*.json"))
            self._listed[folder] = frozenset().union(*map(_read_manifest, manifests))
        return self._listed[folder]


def _read_manifest(path: Path) -> frozenset[str]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return frozenset(content["results"]) if "layout" in content else frozenset()
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()  # no manifest, or that of another program
