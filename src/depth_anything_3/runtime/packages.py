"""Find the installed versions of optional libraries without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from depth_anything_3.errors import UnsupportedError

__all__ = ["check_cuda_build", "install_hint", "package_version", "require_min_version"]


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
