"""Write `exr`: depth in the OpenEXR channel `Z`, which compositing programs read as depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export.labels import depth_unit, view_names
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.packages import install_hint

__all__ = ["write"]


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write one EXR per view: float32 channel `Z`, losslessly compressed, with the attribute `depth_unit`.

    Raises:
        UnsupportedError: OpenEXR is not installed.
        ExportError: a file cannot be written.
    """
    try:
        import OpenEXR
    except ImportError as missing:
        raise UnsupportedError(f"exr needs OpenEXR; {install_hint('exr')}") from missing
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "depth_unit": depth_unit(prediction),
    }
    paths = []
    for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True):
        path = export_dir / "exr" / f"{view}.exr"
        with atomic_write(path) as temporary:
            try:
                OpenEXR.File(dict(header), {"Z": np.ascontiguousarray(depth, np.float32)}).write(str(temporary))
            except RuntimeError as error:  # raised when the disk is full
                raise OSError(str(error)) from error
        paths.append(path)
    return paths
