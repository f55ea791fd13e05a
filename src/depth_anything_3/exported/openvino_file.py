"""Write a program as OpenVINO's intermediate representation."""

from __future__ import annotations

from pathlib import Path

from torch.export import ExportedProgram

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.program import quiet
from depth_anything_3.exported.specification import FOCAL, IMAGE, METADATA_KEY, GraphDtype, GraphMetadata
from depth_anything_3.runtime.packages import install_hint

__all__ = ["require_openvino", "write_openvino"]


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
    converts a float32 graph better than it runs one of mixed types. With float16 the weights are stored in half.
    """
    import openvino

    with quiet():
        model = openvino.convert_model(program)
    for port, name in zip(model.inputs, (IMAGE, FOCAL), strict=False):
        port.get_tensor().set_names({name})
    for port, output in zip(model.outputs, metadata.outputs, strict=True):
        port.get_tensor().set_names({output.value})
    model.set_rt_info(metadata.to_json(), METADATA_KEY)
    openvino.save_model(model, path, compress_to_fp16=metadata.dtype is GraphDtype.FLOAT16)
