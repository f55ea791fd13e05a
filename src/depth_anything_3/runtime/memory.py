"""Read how much main memory there is, and how much of it this process may use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from depth_anything_3.runtime.control_groups import control_groups

__all__ = ["MainMemory", "available_memory", "main_memory"]

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class MainMemory:
    """Main memory, in bytes; None: unknown, as the free memory is on macOS, and all on Windows.

    Attributes:
        total_bytes: of the machine.
        free_bytes: of the machine: free, or used only to cache files.
        limit_bytes: limit of the control group, below the total; None: there is no such limit.
        limit_free_bytes: what the limit leaves, files in the cache not counted.
    """

    total_bytes: int | None
    free_bytes: int | None
    limit_bytes: int | None = None
    limit_free_bytes: int | None = None


def main_memory() -> MainMemory:
    """Read the memory of this machine, and the limit of this process's control group."""
    total, free = _machine()
    limits = [found for folder in control_groups("memory") if (found := _limit(folder)) is not None]
    limits = [one for one in limits if total is None or one[0] < total]  # version 1 states no limit as a huge one
    if not limits:
        return MainMemory(total, free)
    return MainMemory(total, free, min(limit for limit, _ in limits), min(limit - used for limit, used in limits))


def _machine() -> tuple[int | None, int | None]:
    """Return total and free memory."""
    try:
        rows = dict(line.partition(":")[::2] for line in _MEMINFO.read_text("ascii").splitlines())
        kilobytes = [int(rows[name].split()[0]) for name in ("MemTotal", "MemAvailable")]
        return kilobytes[0] * 1024, kilobytes[1] * 1024
    except (OSError, ValueError, KeyError, IndexError):  # no Linux, or no access
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):  # Windows
        return None, None


def _limit(folder: Path) -> tuple[int, int] | None:
    """Return limit and use of a control group, without the file cache that it can give back; None: no limit."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
    ):
        try:
            maximum, current = (int((folder / name).read_text("ascii")) for name in (limit, used))  # "max": no limit
            stat = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):
            continue
        return maximum, max(0, current - int(stat.get(cache, 0)))
    return None


def available_memory() -> int | None:
    """Return the bytes that this process may still use without swapping; None if unknown."""
    memory = main_memory()
    if memory.free_bytes is None:
        return None
    return min(memory.free_bytes, memory.free_bytes if memory.limit_free_bytes is None else memory.limit_free_bytes)
