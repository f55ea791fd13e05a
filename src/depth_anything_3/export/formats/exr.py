"""`exr`: depth as it is, as OpenEXR's `Z` channel, which compositing programs read as depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.export.view_names import depth_unit, view_names
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["write"]


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """One EXR a view: float32 channel `Z`, losslessly compressed; the attribute is `depth_unit`.

    Raises:
        UnsupportedError: OpenEXR is not installed.
        ExportError: a file cannot be written.
    """
    try:
        import OpenEXR
    except ImportError as missing:
        raise UnsupportedError("exr needs OpenEXR: pip install 'depth-anything-3-fast[exr]'") from missing
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "depth_unit": depth_unit(prediction),
    }
    paths = []
    for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True):
        path = export_dir / "exr" / f"{view}.exr"
        with atomic_write(path) as aside:
            try:
                OpenEXR.File(dict(header), {"Z": np.ascontiguousarray(depth, np.float32)}).write(str(aside))
            except RuntimeError as error:  # what it makes of a disk that is full
                raise OSError(str(error)) from error
        paths.append(path)
    return paths
