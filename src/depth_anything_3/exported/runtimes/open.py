"""Open an exported network with the library that runs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.errors import CheckpointNotFoundError, InvalidInputError
from depth_anything_3.exported.runtimes.runtime import GraphRuntime, RuntimeName

__all__ = ["SUFFIXES", "is_exported_file", "open_graph"]

SUFFIXES = {
    ".onnx": (RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO),
    ".xml": (RuntimeName.OPENVINO,),
    ".pt2": (RuntimeName.TORCH,),
}
"""The libraries that run files of each suffix, the default first."""


def is_exported_file(name: str | os.PathLike[str]) -> bool:
    """Whether a name, such as a hub id or a path, is that of an exported file, by its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def open_graph(
    path: str | os.PathLike[str], runtime: RuntimeName | str | None = None, providers: Sequence[str] | None = None
) -> GraphRuntime:
    """Open an exported network.

    Args:
        path: an .onnx, .xml or .pt2 file.
        runtime: the library that runs it: "onnxruntime" (.onnx), "openvino" (.xml, .onnx) or "torch" (.pt2). None: the
            first of these for the suffix.
        providers: what computes, as the library names it; see `OnnxRuntimeGraph`, `OpenVinoGraph` and `TorchGraph`.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointFormatError: the file is damaged, or this package did not write it.
        InvalidInputError: the suffix is unknown, or the library does not run such files.
        UnsupportedError: the library is not installed, or cannot use the provider.
    """
    file = Path(path).expanduser()
    known = SUFFIXES.get(file.suffix.lower())
    if known is None:
        raise InvalidInputError(f"{file}: not an exported model; give a file that ends with {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise CheckpointNotFoundError(f"{file}: there is no such file; write one with `da3 export-model`")
    chosen = known[0] if runtime is None else RuntimeName(runtime)
    if chosen not in known:
        raise InvalidInputError(
            f"runtime={chosen.value!r} does not run {file.name}; choose {' or '.join(repr(one.value) for one in known)}"
        )
    if chosen is RuntimeName.ONNXRUNTIME:
        from depth_anything_3.exported.runtimes.onnxruntime import OnnxRuntimeGraph

        return OnnxRuntimeGraph(file, providers)
    if chosen is RuntimeName.OPENVINO:
        from depth_anything_3.exported.runtimes.openvino import OpenVinoGraph

        return OpenVinoGraph(file, providers)
    from depth_anything_3.exported.runtimes.pt2 import TorchGraph

    return TorchGraph(file, providers)
