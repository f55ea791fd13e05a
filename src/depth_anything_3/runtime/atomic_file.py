"""Write files atomically."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from depth_anything_3.errors import ExportError

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; it is renamed to `target` when the block succeeds, and removed otherwise.

    Creates missing folders. The path has the target's suffix, because some writers choose a format by it.

    Raises:
        ExportError: the folder or file cannot be written; the message names it.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # already renamed, or never created
            temporary.unlink()
