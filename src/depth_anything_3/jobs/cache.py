"""List and remove what this package keeps in the user's cache folder."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.exported.model_store import ENTRY_FILE
from depth_anything_3.inputs.routing.cost_store import cache_path

__all__ = ["CacheEntry", "cache_entries", "clear_cache"]

_MODELS = "models"
_KERNELS = "kernels"
_KINDS = {"calibration": "calibration of da3 doctor", "batches": "batch sizes measured on this CPU"}


@dataclass(frozen=True)
class CacheEntry:
    """Something in the cache.

    Attributes:
        name: how to name it when it is to be removed.
        kind: what it is.
        size: bytes.
        last_used: time of its last use; of a file that is read only, of its last change.
        paths: its files and folders.
    """

    name: str
    kind: str
    size: int
    last_used: datetime
    paths: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the entry as plain values, for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "bytes": self.size,
            "last_used": self.last_used.isoformat(timespec="seconds"),
            "paths": [str(one) for one in self.paths],
        }


def cache_entries() -> list[CacheEntry]:
    """List the cache folder, converted models first; then the compiled kernels, which are beside the package's code."""
    folder, found = cache_path(), []
    for path in sorted(_children(folder / _MODELS)):
        kind = "unfinished conversion" if path.name.startswith(".") else "converted model"
        entry = path / ENTRY_FILE
        found.append(_entry(path.name, kind, (path,), used=entry if entry.is_file() else path))
    for path in sorted(_children(folder)):
        if path.name != _MODELS:
            kind = _KINDS.get(path.name.partition("-")[0], "unknown")
            found.append(_entry(path.name, kind, (path,), used=path))
    package = Path(__file__).parents[1]
    kernels = tuple(sorted(one for suffix in ("nbi", "nbc") for one in package.rglob(f"__pycache__/*.{suffix}")))
    if kernels:
        found.append(_entry(_KERNELS, "compiled kernels", kernels, used=max(kernels, key=_changed)))
    return found


def clear_cache(name: str | None = None) -> list[CacheEntry]:
    """Remove an entry, or all, and return what was removed. It is made again when it is needed.

    Args:
        name: of the entry; None: all.

    Raises:
        InvalidInputError: there is no such entry.
        ExportError: a file cannot be removed.
    """
    entries = cache_entries()
    chosen = [one for one in entries if name in (None, one.name)]
    if name is not None and not chosen:
        known = ", ".join(one.name for one in entries) or "nothing"
        raise InvalidInputError(f"{name!r} is not in the cache, which holds {known}")
    for one in chosen:
        for path in one.paths:
            _remove(path)
    return chosen


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            hidden = path.with_name(f".{uuid.uuid4().hex}")  # renamed first: no process opens half of it
            path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{path}: cannot be removed ({error.strerror or error})") from error


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(name: str, kind: str, paths: tuple[Path, ...], *, used: Path) -> CacheEntry:
    files = [inner for one in paths for inner in ([one] if one.is_file() else one.rglob("*")) if inner.is_file()]
    size = sum(one.stat().st_size for one in files)
    return CacheEntry(name, kind, size, datetime.fromtimestamp(_changed(used), timezone.utc), paths)


def _changed(path: Path) -> float:
    return path.stat().st_mtime
