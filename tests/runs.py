"""What tests of runs share: the files of one, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["files_in", "wait_until"]


def files_in(folder: Path) -> dict[str, int]:
    """Each file and when it was written."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process will do."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited two minutes"
        time.sleep(0.001)
