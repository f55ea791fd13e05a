"""Find the control groups of this process, whose limits a container has instead of the machine's (Linux)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["control_groups"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def control_groups(controller: str) -> list[Path]:
    """Return the folders of this process's control group and of those above it, of version 1 and 2.

    Args:
        controller: such as "cpu" or "memory".

    Returns:
        Folders, which may not exist; none without Linux or access.
    """
    try:
        lines = _OWN_CGROUP.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found: list[Path] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controllers if controllers else _CGROUPS
        group = root / own.lstrip("/")
        # A container sees its own group at the root, whatever its path is outside.
        folders = [group, *group.parents] if ".." not in own else [root]
        found += [folder for folder in folders if folder.is_relative_to(root)]
    return found
