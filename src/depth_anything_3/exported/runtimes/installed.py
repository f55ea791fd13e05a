"""Open an exported network with every library that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError
from depth_anything_3.exported.runtimes.open import SUFFIXES, open_graph
from depth_anything_3.exported.runtimes.runtime import GraphRuntime, RuntimeName
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.runtime.packages import install_hint, package_version

__all__ = ["available_providers", "installed_runtimes", "open_providers", "read_metadata"]

_PACKAGES = {
    RuntimeName.ONNXRUNTIME: ("onnxruntime", "onnx", ("onnxruntime", "onnxruntime-gpu")),
    RuntimeName.OPENVINO: ("openvino", "openvino", ("openvino",)),
}
"""Import name, extra and distributions of each library; torch is always installed."""

_REMOTE = ("AzureExecutionProvider",)  # computes on a server


def installed_runtimes(path: Path) -> tuple[RuntimeName, ...]:
    """List the installed libraries that run a file, by its suffix; importing none.

    Raises:
        InvalidInputError: the suffix is unknown.
        UnsupportedError: none is installed.
    """
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        raise InvalidInputError(f"{path}: not an exported model; give a file that ends with {', '.join(SUFFIXES)}")
    found = tuple(one for one in known if _is_installed(one))
    if not found:
        names = " or ".join(one.value for one in known)
        hints = " or ".join(install_hint(_PACKAGES[one][1]) for one in known)
        raise UnsupportedError(f"{path}: verifying it needs {names}, which is not installed; {hints}")
    return found


def available_providers(runtime: RuntimeName) -> tuple[str, ...]:
    """List what a library computes with on this machine."""
    if runtime is RuntimeName.ONNXRUNTIME:
        from depth_anything_3.exported.runtimes import onnxruntime

        return tuple(one for one in onnxruntime.available_providers() if one not in _REMOTE)
    if runtime is RuntimeName.OPENVINO:
        from depth_anything_3.exported.runtimes import openvino

        return openvino.available_providers()
    from depth_anything_3.exported.runtimes import pt2

    return pt2.available_providers()


def open_providers(
    path: Path, runtime: RuntimeName, providers: Sequence[str | None]
) -> tuple[list[GraphRuntime], list[tuple[str, DA3Error]]]:
    """Open a file once for each provider.

    Args:
        path: the file.
        runtime: the library.
        providers: names of the library; None is its default.

    Returns:
        What was opened, and for each other provider its name and error.
    """
    graphs: list[GraphRuntime] = []
    failures: list[tuple[str, DA3Error]] = []
    for one in providers:
        try:
            graphs.append(open_graph(path, runtime, None if one is None else (one,)))
        except DA3Error as error:
            failures.append((one or "default", error))
    return graphs, failures


def read_metadata(path: Path) -> GraphMetadata:
    """Read the description in a file, with the first installed library that opens it.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointFormatError: no library can open it, or it has no description.
        InvalidInputError, UnsupportedError: see `installed_runtimes`.
    """
    errors: list[DA3Error] = []
    for runtime in installed_runtimes(path):
        graphs, failures = open_providers(path, runtime, (None,))
        errors += [error for _, error in failures]
        for one in graphs:
            one.close()
            return one.metadata
    raise errors[0]


def _is_installed(runtime: RuntimeName) -> bool:
    if runtime not in _PACKAGES:
        return True
    package, extra, distributions = _PACKAGES[runtime]
    try:
        package_version(package, extra=extra, distributions=distributions)
    except UnsupportedError:
        return False
    return True
