"""Memory that this process may still use."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.runtime.threads import group_folders

__all__ = ["available_memory"]

_MEMINFO = Path("/proc/meminfo")
_NAMES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # versions 2 and 1


def available_memory() -> int | None:
    """Return the bytes of host memory that are available without swapping; None if unknown (not Linux).

    That is the kernel's estimate for the machine, or less under the memory limit of a control group.
    """
    try:
        lines = _MEMINFO.read_text("utf-8").splitlines()
        of_machine = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return min([of_machine, *(left for one in group_folders("memory") if (left := _left(one)) is not None)])


def _left(folder: Path) -> int | None:
    """Return the bytes that are left in a control group, or None if it has no limit."""
    for limit, used in _NAMES:
        try:
            most = int((folder / limit).read_text("utf-8"))  # "max": no limit
            held = int((folder / used).read_text("utf-8"))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines())
            # Cached files count as used, and are dropped when memory is needed.
            return max(0, most - held + int(stat.get("inactive_file", 0)))
        except (OSError, ValueError):
            continue
    return None
