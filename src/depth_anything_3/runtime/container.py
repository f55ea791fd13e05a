"""Find out whether this process runs in a container, and what the container hides of the NVIDIA driver."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CAPABILITIES_VARIABLE", "in_container", "missing_driver_capability"]

CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
"""Environment variable by which NVIDIA's container toolkit chooses the driver's libraries in a container."""

_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # of Docker, of Podman


def in_container() -> bool:
    """Whether this process runs in a container of Docker, Podman or Kubernetes; others are not recognised."""
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in _MARKS)


def missing_driver_capability(name: str) -> str | None:
    """Say why a container has no libraries for a capability of the NVIDIA driver, by its environment variable.

    The toolkit gives a container without the variable, or with an empty one, `compute` and `utility`.

    Args:
        name: "compute" or "video".

    Returns:
        The cause; None: the variable includes the capability, or there is no sign of a container.
    """
    value = os.environ.get(CAPABILITIES_VARIABLE, "").strip()
    if value:
        given = {one.strip() for one in value.split(",")}
        return None if given & {name, "all"} else f"{CAPABILITIES_VARIABLE}={value} lacks {name!r}"
    if name == "video" and in_container():
        return f"{CAPABILITIES_VARIABLE} is not set, and the default lacks {name!r}"
    return None
