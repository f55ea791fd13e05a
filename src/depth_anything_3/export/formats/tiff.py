"""Write `tiff`: depth in 32-bit floating point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from depth_anything_3.export.image_file import write_image
from depth_anything_3.export.labels import depth_unit, view_names
from depth_anything_3.prediction import Prediction

__all__ = ["write"]

_IMAGE_DESCRIPTION = 270


def write(prediction: Prediction, export_dir: Path, name: str | None) -> list[Path]:
    """Write one uncompressed TIFF per view. Its ImageDescription is JSON: `{"depth_unit": "metre"}`, see `depth_unit`.

    Raises:
        ExportError: a file cannot be written.
    """
    tags = ImageFileDirectory_v2()
    tags[_IMAGE_DESCRIPTION] = json.dumps({"depth_unit": depth_unit(prediction)})
    return [
        write_image(export_dir / "tiff" / f"{view}.tiff", np.asarray(depth, np.float32), "TIFF", tiffinfo=tags)
        for depth, view in zip(prediction.depth, view_names(prediction, name), strict=True)
    ]
