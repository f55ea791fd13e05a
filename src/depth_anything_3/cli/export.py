"""`da3 export`: write results of earlier runs in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stdout
from depth_anything_3.errors import InvalidInputError

__all__ = ["export"]


def export(
    sources: Annotated[list[Path], typer.Argument(help="results.npz or NAME.npz of earlier runs.", metavar="NPZ")],
    export_dir: o.ExportDir = Path("debug"),
    export_format: o.ReExportFormat = "depth_vis",
    conf_thresh_percentile: o.ConfThresh = 40.0,
    num_max_points: o.MaxPoints = 1_000_000,
    show_cameras: o.ShowCameras = True,
) -> None:
    """Write results in other formats, without the network: npz keeps what depth_vis, ply, glb and others need."""
    from depth_anything_3.export import export as write
    from depth_anything_3.export import load_prediction, parse_formats
    from depth_anything_3.jobs.images import export_names

    parse_formats(export_format)
    options = o.export_options(conf_thresh_percentile, num_max_points, show_cameras, 15)
    scene = len(sources) == 1 and sources[0].name == "results.npz"
    names = [None] if scene else export_names(sources)
    for source, name in zip(sources, names, strict=True):
        try:
            files = write(load_prediction(source), export_dir, export_format, name, options)
        except InvalidInputError as error:
            text = str(error)
            raise type(error)(text if str(source) in text else f"{source}: {text}") from error
        for file in files:
            stdout.print(str(file), markup=False)
