"""Find the installed versions of optional libraries without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from depth_anything_3.errors import UnsupportedError

__all__ = [
    "DISTRIBUTION",
    "check_cuda_build",
    "install_hint",
    "other_owners",
    "package_version",
    "require_min_version",
]

DISTRIBUTION = "depth-anything-3-fast"
"""Name of the distribution that installs this package."""

# A package installed in editable mode is in none of its distribution's files.
_KNOWN_OWNERS = ("depth-anything-3", "awesome-depth-anything-3")


def install_hint(extra: str) -> str:
    """Say how to install an extra of this package, which no index of packages has: from its source."""
    return f"run pip install '.[{extra}]' in the folder of this package's source"


def package_version(package: str, *, extra: str, distributions: tuple[str, ...] = ()) -> str:
    """Return the version of an installed package, with its build tag (`+cu130`, `+cpu`) if it has one.

    Args:
        package: import name; torch's companion packages have the build tag only in its `version.py`.
        extra: extra of this package that installs it, for the message.
        distributions: distribution names, if they differ from `package`.

    Raises:
        UnsupportedError: it is not installed.
    """
    for distribution in distributions or (package,):
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if distributions else _tagged_version(package) or version
    raise UnsupportedError(f"{package} is not installed; {install_hint(extra)}")


def _tagged_version(package: str) -> str | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None


def require_min_version(package: str, version: str, minimum: tuple[int, int], *, why: str, extra: str) -> None:
    """Raise an error if a version is older than `minimum`.

    Raises:
        UnsupportedError: it is older.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < minimum:
        raise UnsupportedError(
            f"{package} {version} is too old ({why}); {minimum[0]}.{minimum[1]} or newer is required; "
            f"{install_hint(extra)}"
        )


def check_cuda_build(package: str, version: str, device_type: str) -> None:
    """Raise an error for a CPU-only build on a CUDA device.

    Raises:
        UnsupportedError: the build tag is `+cpu`.
    """
    if device_type == "cuda" and version.partition("+")[2] == "cpu":
        raise UnsupportedError(
            f"{package} {version} was built without CUDA; install the build for your CUDA from PyTorch's wheel index"
        )


def other_owners() -> tuple[str, ...]:
    """List the installed distributions, other than this one, that install a package `depth_anything_3`.

    Files of two such distributions replace each other, or hide each other's.
    """
    package = __name__.partition(".")[0]
    owners = {_normalized(one) for one in importlib.metadata.packages_distributions().get(package, ()) if one}
    for known in _KNOWN_OWNERS:
        try:
            importlib.metadata.version(known)
        except importlib.metadata.PackageNotFoundError:
            continue
        owners.add(_normalized(known))
    return tuple(sorted(owners - {DISTRIBUTION}))


def _normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
