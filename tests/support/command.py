"""Exit codes, output and files of a run of the `da3` command."""

from __future__ import annotations

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
    """List the files of a folder, without its manifest."""
    manifest = ("manifest.json", "manifest.jsonl")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in manifest)
    return sorted(path.relative_to(folder).as_posix() for path in files)
