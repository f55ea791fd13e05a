"""Confine the paths that requests to upstream's routes name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.services.server.problems import Problem

__all__ = ["confined", "resolve_folders"]


def resolve_folders(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Resolve the folders that requests may name files in.

    Raises:
        InvalidInputError: one does not exist, is no folder, or is the root of the file system.
    """
    found = []
    for one in folders:
        try:
            resolved = one.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidInputError(f"allow_paths={os.fspath(one)!r}: no such folder") from error
        if not resolved.is_dir() or resolved == Path(resolved.anchor):
            raise InvalidInputError(f"allow_paths={os.fspath(one)!r}: give a folder below the root of the file system")
        found.append(resolved)
    return tuple(found)


def confined(text: str, folders: Sequence[Path]) -> Path:
    """Resolve a path, symbolic links followed, and check that it is inside one of the folders.

    Args:
        text: from a request; need not exist.
        folders: resolved.

    Raises:
        Problem: 403: it is elsewhere, or no folder is allowed; whether it exists is not revealed. 422: not absolute.
    """
    if not folders:
        detail = "this server uses no paths of requests; whoever runs it can allow a folder with --allow-paths DIR"
        raise Problem(403, "paths-not-allowed", detail)
    if not os.path.isabs(text) or "\0" in text:
        raise Problem(422, "invalid-path", f"{text[:200]!r}: give an absolute path", "InvalidInputError")
    try:
        resolved = Path(text).resolve()
    except (OSError, RuntimeError):  # a loop of links, or a name that is too long
        resolved = None
    if resolved is None or not any(resolved.is_relative_to(one) for one in folders):
        raise Problem(403, "path-not-allowed", f"{text[:200]!r} is not inside a folder of --allow-paths")
    return resolved
