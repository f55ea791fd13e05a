"""Exit codes, output and files of a run of the `da3` command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DONE, FAILURES, MISUSE = 0, 1, 2


@dataclass
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str


def files_in(folder: Path) -> list[str]:
    """List the files of a folder, without its manifests."""
    manifest = re.compile(r"manifest(-\d+-of-\d+)?\.jsonl?")
    files = (path for path in folder.rglob("*") if path.is_file() and not manifest.fullmatch(path.name))
    return sorted(path.relative_to(folder).as_posix() for path in files)
