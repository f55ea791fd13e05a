"""The name of an optional library in, the version that is installed out, without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from depth_anything_3.errors import UnsupportedError

__all__ = ["check_cuda_build", "package_version", "require_min_version"]


def package_version(package: str, *, extra: str, distributions: tuple[str, ...] = ()) -> str:
    """Version of an installed package, with its build tag (`+cu130`, `+cpu`) where it has one.

    Args:
        package: name that is imported; torch's companions write the build tag into its `version.py` alone.
        extra: of this package, that installs it.
        distributions: names that package indexes know it by, where they differ from `package`.

    Raises:
        UnsupportedError: it is not installed.
    """
    for distribution in distributions or (package,):
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if distributions else _tagged_version(package) or version
    raise UnsupportedError(f"{package} is not installed: pip install 'depth-anything-3-fast[{extra}]'")


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


def require_min_version(package: str, version: str, least: tuple[int, int], *, why: str, extra: str) -> None:
    """Refuse a version before `least`.

    Raises:
        UnsupportedError: it is older.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < least:
        raise UnsupportedError(
            f"{package} {version} is too old ({why}); {least[0]}.{least[1]} or newer is needed: "
            f"pip install -U 'depth-anything-3-fast[{extra}]'"
        )


def check_cuda_build(package: str, version: str, device_type: str) -> None:
    """Refuse a build without CUDA for a CUDA device.

    Raises:
        UnsupportedError: its build tag says that it has none.
    """
    if device_type == "cuda" and version.partition("+")[2] == "cpu":
        raise UnsupportedError(
            f"{package} {version} was built without CUDA; install the build for your CUDA from PyTorch's wheel index"
        )
