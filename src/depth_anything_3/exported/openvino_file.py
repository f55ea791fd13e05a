"""Write a program as OpenVINO's intermediate representation."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.program import quiet
from depth_anything_3.exported.specification import FOCAL, IMAGE, METADATA_KEY, GraphDtype, GraphMetadata
from depth_anything_3.runtime.packages import install_hint

if TYPE_CHECKING:
    import openvino

__all__ = ["require_openvino", "write_openvino"]

_LOW_PRECISION = ("MatMul", "ScaledDotProductAttention")
"""Operations that may compute in bfloat16, as in torch the matrices of the backbone."""

_WITHOUT_PRECISION = ("Const", "Parameter", "Result")


def require_openvino(path: Path) -> None:
    """Check that the library is there and reads files of this name.

    Raises:
        UnsupportedError: openvino is not installed, or the file has another suffix than ".xml".
    """
    if path.suffix != ".xml":
        raise UnsupportedError(f"{path}: OpenVINO reads models from .xml files; name it {path.stem}.xml")
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise UnsupportedError(f"format 'openvino' needs openvino; {install_hint('openvino')}") from None


def write_openvino(program: ExportedProgram, metadata: GraphMetadata, path: Path) -> None:
    """Write `path`, an ".xml" file, and its weights beside it, with the suffix ".bin"; see `require_openvino`.

    The graph is float32 whatever the dtype of the metadata, which is the precision to compile it for: OpenVINO
    converts a float32 graph better than it runs one of mixed types. Compiled for bfloat16, only matrix products and
    attention are: the other operations are marked to stay float32. With float16 the matrices are stored in half.
    """
    import openvino

    with quiet():
        model = openvino.convert_model(program)
    for port, name in zip(model.inputs, (IMAGE, FOCAL), strict=False):
        port.get_tensor().set_names({name})
    for port, output in zip(model.outputs, metadata.outputs, strict=True):
        port.get_tensor().set_names({output.value})
    model.set_rt_info(metadata.to_json(), METADATA_KEY)
    _use_older_interpolation(model)
    if metadata.dtype is GraphDtype.FLOAT16:
        _halve_matrices(model)
    openvino.save_model(model, path, compress_to_fp16=False)  # it would also halve the heads
    _mark_float32(path)


def _halve_matrices(model: openvino.Model) -> None:
    """Store the constant factors of matrix products in half; they are converted when the file is opened."""
    import numpy as np
    import openvino

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        for port in node.inputs():
            factor = port.get_source_output().get_node()
            if factor.get_type_name() == "Constant":
                half = openvino.op.Constant(np.float16(factor.data))
                port.replace_source_output(openvino.opset13.convert(half, "f32").output(0))


def _use_older_interpolation(model: openvino.Model) -> None:
    """Replace `Interpolate` of opset 11 by that of opset 4, as the CPU plugin does, where it would lose its mark."""
    import numpy as np
    import openvino
    from openvino.utils.node_factory import NodeFactory

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate" or node.get_type_info().version_id != "opset11":
            continue
        image, sizes, axes = (node.input_value(index) for index in range(3))
        unused_scales = openvino.op.Constant(np.ones(2, np.float32)).output(0)
        inputs = [image, sizes, unused_scales, axes]
        older = NodeFactory("opset4").create("Interpolate", inputs, node.get_attributes())
        older.set_friendly_name(node.get_friendly_name())
        openvino.utils.replace_node(node, older)


def _mark_float32(path: Path) -> None:
    """Mark the operations of an .xml file that stay float32 in every precision of inference.

    The mark is the attribute that OpenVINO itself writes there; Python has no function that sets it.
    """
    tree = ET.parse(path)  # noqa: S314  (our own file)
    layers = tree.getroot().find("layers")
    assert layers is not None
    for layer in layers:
        if layer.get("type") in (*_LOW_PRECISION, *_WITHOUT_PRECISION):
            continue
        info = layer.find("rt_info")
        if info is None:
            info = ET.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, info)
        if info.find("attribute[@name='precise']") is None:
            ET.SubElement(info, "attribute", {"name": "precise", "version": "0"})
    tree.write(path, encoding="utf-8", xml_declaration=True)
