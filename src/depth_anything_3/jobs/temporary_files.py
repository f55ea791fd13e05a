"""Remove the temporary files that a killed run has left."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["MIN_AGE_S", "remove_temporary_files"]

MIN_AGE_S = 3600.0
"""Age of a temporary file that another shard has abandoned."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.[a-z0-9]+")  # temporary files of atomic writes


def remove_temporary_files(folders: Iterable[Path], min_age_s: float = 0.0) -> None:
    """Remove temporary files from folders, which may be missing; not from folders in them.

    Args:
        folders: where to look.
        min_age_s: seconds since the last change; younger files may be those of another run.
    """
    latest = time.time() - min_age_s
    for folder in sorted(folders):
        # A temporary file that cannot be removed does no harm.
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime <= latest:
                    shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)
