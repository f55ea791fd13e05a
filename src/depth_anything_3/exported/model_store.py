"""Keep converted networks in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from depth_anything_3.errors import ExportError
from depth_anything_3.inputs.routing.cost_store import cache_path

__all__ = ["ENTRY_FILE", "MAX_STORE_BYTES", "ModelStore", "StoredModel"]

logger = logging.getLogger(__name__)

ENTRY_FILE = "entry.json"
MAX_STORE_BYTES = 10 * 10**9
"""Total size beyond which the models that were used least recently are removed; the one in use never is."""

_MAX_ENTRY_BYTES = 2**20
_ABANDONED_SECONDS = 24 * 3600.0  # of a temporary folder, after which its process has ended


@dataclass(frozen=True)
class StoredModel:
    """A converted network in the cache.

    Attributes:
        file: the file to open.
        error: largest difference to torch in float32, relative to the largest value; see the code that converts.
    """

    file: Path
    error: float


class ModelStore:
    """Folders of converted networks, one for each network, library and versions.

    An entry is written in a temporary folder, which is then renamed: another process sees the whole entry or none. Of
    two processes that convert at once, the second uses what the first has written. Files that have changed since are
    noticed by their SHA-256, and converted anew.

    Args:
        folder: where entries are; by default in the user's cache folder.
        max_bytes: see `MAX_STORE_BYTES`.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_STORE_BYTES) -> None:
        self.folder = cache_path() / "models" if folder is None else folder
        self._max_bytes = max_bytes

    def get(self, name: str, facts: Mapping[str, str]) -> StoredModel | None:
        """Return an entry, and note its use; None if there is none, or it is damaged.

        Args:
            name: readable name of the entry.
            facts: everything that the converted network depends on.
        """
        place = self._place(name, facts)
        try:
            with (place / ENTRY_FILE).open("rb") as stream:
                entry = json.loads(stream.read(_MAX_ENTRY_BYTES))
            if entry["facts"] != dict(facts):
                raise ValueError("another network")
            for file, digest in entry["files"].items():
                if _digest(place / file) != digest:
                    raise ValueError(f"{file} has changed")
            found = StoredModel(place / entry["file"], float(entry["error"]))
        except FileNotFoundError as error:
            if place.is_dir():
                self._remove_damaged(place, error)
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._remove_damaged(place, error)
            return None
        with suppress(OSError):
            os.utime(place / ENTRY_FILE)
        return found

    def add(self, name: str, facts: Mapping[str, str], file: str, write: Callable[[Path], float]) -> StoredModel:
        """Convert a network and keep it.

        Args:
            name, facts: see `get`.
            file: name of the file to open.
            write: writes the file, and others beside it, to a path; returns its error, see `StoredModel`.

        Raises:
            ExportError: the cache folder cannot be written.
        """
        place, temporary = self._place(name, facts), self.folder / f".{uuid.uuid4().hex}"
        try:
            temporary.mkdir(parents=True)
            error = write(temporary / file)
            digests = {one.name: _digest(one) for one in sorted(temporary.iterdir())}
            entry = {"facts": dict(facts), "file": file, "error": error, "files": digests}
            (temporary / ENTRY_FILE).write_text(json.dumps(entry, indent=1, allow_nan=False), encoding="utf-8")
            try:
                temporary.rename(place)
            except OSError:
                if not (place / ENTRY_FILE).is_file():  # else another process has written it meanwhile
                    raise
        except OSError as failure:
            if isinstance(failure, ExportError):
                raise
            raise ExportError(
                f"{self.folder}: the converted network cannot be kept there ({failure.strerror or failure}); free some "
                "space, or set XDG_CACHE_HOME to another folder"
            ) from failure
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._limit_size(place)
        return StoredModel(place / file, error)

    def _place(self, name: str, facts: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{name}-{digest}"

    def _remove_damaged(self, place: Path, error: Exception) -> None:
        logger.warning("%s: damaged (%s), so it is removed and converted again", place, error)
        _remove(place)

    def _limit_size(self, used: Path) -> None:
        """Remove abandoned temporary folders, and what was used least recently, until the total is within bounds."""
        entries = []
        for one in self.folder.iterdir():
            with suppress(OSError):  # removed by another process meanwhile
                if one.name.startswith("."):
                    if time.time() - one.stat().st_mtime > _ABANDONED_SECONDS:
                        _remove(one)
                elif one != used:
                    entries.append(((one / ENTRY_FILE).stat().st_mtime, one))
        total = _size(used)
        for _, one in sorted(entries, reverse=True):
            total += _size(one)
            if total > self._max_bytes:
                logger.info("%s: removed, to keep the cache below %.0f GB", one, self._max_bytes / 1e9)
                _remove(one)


def _remove(folder: Path) -> None:
    """Remove a folder; renamed first, so that no process opens half of it."""
    hidden = folder.with_name(f".{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.iterdir())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()
