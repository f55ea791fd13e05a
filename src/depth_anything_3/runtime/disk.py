"""Read how much space the disk of a folder has."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DiskSpace", "disk_space"]


@dataclass(frozen=True)
class DiskSpace:
    """The disk of a folder.

    Attributes:
        folder: the folder, whether or not it exists.
        total_bytes, free_bytes: size of the disk, and what this user may still write; None: it cannot be read.
        writable: whether this user may write to the folder, or create it.
    """

    folder: Path
    total_bytes: int | None
    free_bytes: int | None
    writable: bool


def disk_space(folder: Path) -> DiskSpace:
    """Read the disk of a folder, which need not exist: then that of the nearest folder above it."""
    existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    try:
        usage = shutil.disk_usage(existing)
    except OSError:
        return DiskSpace(folder, None, None, writable)
    return DiskSpace(folder, usage.total, usage.free, writable)
