"""Define `da3 export`, which converts results of earlier runs to other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.fields import ARCHIVE_FIELDS
from depth_anything_3.export.registry import format_names, formats_for

__all__ = ["export"]


@grouped
def export(
    sources: Annotated[list[Path], typer.Argument(help="results.npz or NAME.npz of earlier runs.", metavar="NPZ")],
    *,
    export_dir: o.ExportDir = Path("debug"),
    export_format: Annotated[
        str, typer.Option(help=f"Formats joined with '-': {format_names(formats_for(ARCHIVE_FIELDS))}.")
    ] = "depth_vis",
    writers: Annotated[o.WriterFlags, Omit(("feat_vis_fps",))],
) -> None:
    """Convert results of earlier runs to other formats, without the network.

    Read npz files, or mini_npz files, which lack the images that depth_vis and glb need.
    """
    from depth_anything_3.export import export as write
    from depth_anything_3.export import load_prediction, parse_formats
    from depth_anything_3.export.checks import check_export_dir
    from depth_anything_3.export.naming import result_names
    from depth_anything_3.inputs.discover import FoundImage
    from depth_anything_3.jobs.manifest import Manifest

    formats = parse_formats(export_format, [one.name for one in formats_for(ARCHIVE_FIELDS)])
    options = writers.options()
    check_export_dir(export_dir)
    scene = len(sources) == 1 and sources[0].name == "results.npz"
    names = [None] if scene else result_names([FoundImage.alone(one) for one in sources])
    manifest = Manifest(export_dir)
    for source, name in zip(sources, names, strict=True):
        try:
            files = write(load_prediction(source), export_dir, formats, name, options)
        except InvalidInputError as error:
            text = str(error)
            raise type(error)(text if str(source) in text else f"{source}: {text}") from error
        manifest.add_results(files)
        for file in files:
            stdout.print(str(file), markup=False)
