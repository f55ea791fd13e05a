"""Write a network as a file of another format."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from torch import nn
from torch.export import ExportedProgram

from depth_anything_3.errors import ExportError
from depth_anything_3.exported.graph import ExportedNetwork, prepared_copy
from depth_anything_3.exported.onnx_file import require_onnx, write_onnx
from depth_anything_3.exported.openvino_file import require_openvino, write_openvino
from depth_anything_3.exported.program import export_program
from depth_anything_3.exported.pt2_file import write_pt2
from depth_anything_3.exported.specification import ExportSpecification, GraphMetadata, ModelFormat
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.model.catalog import DepthKind, ModelCard
from depth_anything_3.runtime.packages import DISTRIBUTION

__all__ = ["write_model"]

_WRITERS = ("torch", "onnx", "onnxscript", "openvino")


def write_model(
    network: nn.Module, card: ModelCard, specification: ExportSpecification, path: Path, reference: str = ""
) -> GraphMetadata:
    """Write a network with its description. Nothing is written if an error is raised.

    Large weights of ONNX lie beside it, in `path` + ".data"; those of OpenVINO always do, in a file with the suffix
    ".bin".

    Args:
        network: the network of `card`, on the CPU; it is not changed.
        card: what it predicts.
        specification: what it is exported as.
        path: the file, whose suffix is not checked but for OpenVINO, which reads only ".xml".
        reference: see `GraphMetadata`.

    Raises:
        UnsupportedError: the model lacks an output or takes one view, a library is missing, or torch is too old.
        ExportError: the file cannot be written.
    """
    if specification.format is ModelFormat.ONNX:
        require_onnx()
    elif specification.format is ModelFormat.OPENVINO:
        require_openvino(path)
    module = ExportedNetwork(prepared_copy(network, specification), card, specification)
    metadata = replace(_describe(network, card, specification, module), reference=reference)
    program = export_program(module, specification)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            _write(program, metadata, specification.format, temporary)
            _move_all(Path(folder), path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror or error})") from error
    return metadata


def _write(program: ExportedProgram, metadata: GraphMetadata, format: ModelFormat, path: Path) -> None:
    if format is ModelFormat.ONNX:
        write_onnx(program, metadata, path)
    elif format is ModelFormat.OPENVINO:
        write_openvino(program, metadata, path)
    else:
        write_pt2(program, metadata, path)


def _move_all(folder: Path, path: Path) -> None:
    """Rename the files of a folder into that of `path`, which comes last: a graph never has another one's weights."""
    others = [one for one in folder.iterdir() if one.name != path.name]
    if others:
        path.unlink(missing_ok=True)
    for one in (*others, folder / path.name):
        os.replace(one, path.with_name(one.name))


def _describe(
    network: nn.Module, card: ModelCard, specification: ExportSpecification, module: ExportedNetwork
) -> GraphMetadata:
    in_metres = module.takes_focal or card.depth_kind is DepthKind.METRIC
    return GraphMetadata(
        model=card.name,
        licence=card.licence,
        depth_unit="metres" if in_metres else "relative",
        weights_sha256=weights_hash(network),
        size_hw=specification.size_hw,
        dynamic=specification.dynamic,
        views=specification.views,
        dtype=specification.dtype,
        input=specification.input,
        outputs=module.outputs,
        takes_focal=module.takes_focal,
        versions=_versions(),
    )


def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for name in (DISTRIBUTION, *_WRITERS):
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)
