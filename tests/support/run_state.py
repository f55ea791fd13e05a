"""The files of a run, and waiting for it."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from depth_anything_3.inputs.earlier_results import MANIFEST
from depth_anything_3.jobs.manifest import RECORDS

__all__ = ["files_in", "wait_until"]


def files_in(folder: Path) -> dict[str, int]:
    """Each file but the manifest, and when it was written. A run that goes on meanwhile may rename or remove one."""
    found = {}
    for path in folder.rglob("*"):
        if path.name in (MANIFEST, RECORDS):
            continue
        with suppress(FileNotFoundError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found[path.relative_to(folder).as_posix()] = status.st_mtime_ns
    return found


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process will do."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited two minutes"
        time.sleep(0.001)
