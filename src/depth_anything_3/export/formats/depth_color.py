"""Write `depth_color`: depth in colour, without the image."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.export.colored_views import colored_views
from depth_anything_3.export.format_options import ColorOptions
from depth_anything_3.export.image_file import write_image
from depth_anything_3.export.labels import view_names
from depth_anything_3.prediction import Prediction

__all__ = ["ColorOptions", "write"]


def write(prediction: Prediction, export_dir: Path, name: str | None, options: ColorOptions) -> list[Path]:
    """Write one PNG per view. It is lossless: JPEG would smear the colours across the edges of depth.

    Raises:
        ExportError: a file cannot be written.
    """
    views = zip(colored_views(prediction, options), view_names(prediction, name), strict=True)
    return [write_image(export_dir / "depth_color" / f"{view}.png", colors, "PNG") for colors, view in views]
