"""Write a program as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.program import quiet
from depth_anything_3.exported.specification import (
    FOCAL,
    IMAGE,
    METADATA_KEY,
    GraphDtype,
    GraphInput,
    GraphMetadata,
    Output,
)
from depth_anything_3.runtime.packages import install_hint

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["BFLOAT16_OPSET", "OPSET", "require_onnx", "write_onnx"]

OPSET = 20
"""The version of ONNX's operators that TensorRT 10 and 11, OpenVINO and ONNX Runtime in browsers all read."""

BFLOAT16_OPSET = 22
"""The first version whose convolution takes bfloat16."""

_EXTERNAL_DATA = 1_900_000_000  # bytes of weights; a file of protobuf ends at 2 GiB


def require_onnx() -> None:
    """Check that the libraries are there.

    Raises:
        UnsupportedError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  (torch's exporter imports it)
    except ImportError:
        raise UnsupportedError(f"format 'onnx' needs onnx and onnxscript; {install_hint('onnx')}") from None


def write_onnx(program: ExportedProgram, metadata: GraphMetadata, path: Path) -> None:
    """Write `path`, and `path` + ".data" beside it if the weights are too large for one file; see `require_onnx`."""
    import onnx

    inputs = [IMAGE, FOCAL] if metadata.takes_focal else [IMAGE]
    with quiet():
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=BFLOAT16_OPSET if metadata.dtype is GraphDtype.BFLOAT16 else OPSET,
            input_names=inputs,
            output_names=[one.value for one in metadata.outputs],
            verbose=False,
        )
    assert written is not None
    model = written.model
    model.metadata_props[METADATA_KEY] = metadata.to_json()
    model.doc_string = f"{metadata.model}, licence of the weights: {metadata.licence}"
    _name_axes(model, metadata)
    weights = sum(one.const_value.nbytes for one in model.graph.initializers.values() if one.const_value is not None)
    written.save(path, external_data=weights > _EXTERNAL_DATA)
    onnx.checker.check_model(path, full_check=True)


def _name_axes(model: onnx_ir.Model, metadata: GraphMetadata) -> None:
    """Name the variable axes of inputs and outputs, which the exporter names by formulas."""
    leading = ("batch", "views") if metadata.has_views_axis else ("batch",)
    pixels = ("height", "width", "3") if metadata.input is GraphInput.UINT8 else ("3", "height", "width")
    names: dict[str | None, tuple[str, ...]] = {
        IMAGE: (*leading, *pixels),
        FOCAL: leading,
        Output.EXTRINSICS.value: (*leading, "3", "4"),
        Output.INTRINSICS.value: (*leading, "3", "3"),
    }
    for value in (*model.graph.inputs, *model.graph.outputs):
        shape = value.shape
        assert shape is not None
        for axis, name in enumerate(names.get(value.name, (*leading, "height", "width"))):
            if not isinstance(shape[axis], int):
                shape[axis] = name
