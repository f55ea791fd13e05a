"""Import PyAV, an optional library that reads and writes videos."""

from __future__ import annotations

import importlib.util
from typing import Any

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.runtime.packages import install_hint

__all__ = ["NEEDS_PYAV", "has_pyav", "import_pyav"]

NEEDS_PYAV = f"videos need PyAV; {install_hint('video')}"


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def import_pyav() -> Any:  # Any: an optional module
    """Import and return the module `av`.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        import av
    except ImportError as missing:
        raise UnsupportedError(NEEDS_PYAV) from missing
    return av
