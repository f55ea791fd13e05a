"""A `Prediction` in, files out, and back. One file a format; names are joined with '-', as upstream does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depth_anything_3.export.checks import Contents, check_formats
from depth_anything_3.export.formats import (
    colmap,
    depth_png,
    depth_vis,
    exr,
    feat_vis,
    glb,
    gs_ply,
    gs_video,
    npz,
    ply,
    tiff,
)
from depth_anything_3.export.load import load_prediction
from depth_anything_3.export.options import ColmapOptions, ExportOptions, FormatOptions
from depth_anything_3.export.registry import ExportFormat, parse_formats
from depth_anything_3.prediction import Prediction

__all__ = [
    "Contents",
    "ExportFormat",
    "ExportOptions",
    "check_formats",
    "export",
    "load_prediction",
    "parse_formats",
    "result_files",
]

# Each takes the prediction, the folder and the name; those that have options, these too.
_WRITERS: dict[ExportFormat, Callable[..., list[Path]]] = {
    ExportFormat.MINI_NPZ: npz.write_mini,
    ExportFormat.NPZ: npz.write,
    ExportFormat.DEPTH_PNG: depth_png.write,
    ExportFormat.DEPTH_VIS: depth_vis.write,
    ExportFormat.TIFF: tiff.write,
    ExportFormat.EXR: exr.write,
    ExportFormat.FEAT_VIS: feat_vis.write,
    ExportFormat.PLY: ply.write,
    ExportFormat.GLB: glb.write,
    ExportFormat.COLMAP: colmap.write,
    ExportFormat.GS_PLY: gs_ply.write,
    ExportFormat.GS_VIDEO: gs_video.write,
}

_SUFFIXES: dict[ExportFormat, str] = {
    ExportFormat.MINI_NPZ: "npz",
    ExportFormat.NPZ: "npz",
    ExportFormat.DEPTH_PNG: "png",
    ExportFormat.DEPTH_VIS: "jpg",
    ExportFormat.TIFF: "tiff",
    ExportFormat.EXR: "exr",
    ExportFormat.FEAT_VIS: "jpg",
    ExportFormat.PLY: "ply",
    ExportFormat.GLB: "glb",
    ExportFormat.GS_PLY: "ply",
    ExportFormat.GS_VIDEO: "mp4",
}


def export(
    prediction: Prediction,
    export_dir: Path,
    formats: str,
    name: str | None = None,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write a prediction in each format. It is not changed.

    Args:
        prediction: what to write.
        export_dir: folder to write into; made if missing. Files already there are replaced, each in one step.
        formats: names joined with '-'.
        name: of an independent image, used as its files' name (`depth_png/NAME.png`). Without it the prediction is
            a scene and its views are numbered, in upstream's folders (`depth_vis/0000.jpg`, `exports/npz/results.npz`).
        options: how; None takes the defaults.

    Returns:
        The files written.

    Raises:
        InvalidInputError: a format or option is unknown, or the prediction lacks what a format needs. Nothing is
            written then.
        ExportError: a file cannot be written.
    """
    options = ExportOptions() if options is None else options
    written: list[Path] = []
    for one in check_formats(formats, Contents.of(prediction), options):
        chosen = options.of(one)
        extra = () if type(chosen) is FormatOptions else (chosen,)
        written += _WRITERS[one](prediction, export_dir, name, *extra)
    return list(dict.fromkeys(written))  # glb writes depth_vis, which may have been asked for too


def result_files(export_dir: Path, formats: str, name: str, options: ExportOptions | None = None) -> list[Path]:
    """The files that `export` writes for one independent image of this name.

    Raises:
        InvalidInputError: a format or option is unknown.
    """
    options = ExportOptions() if options is None else options
    files: list[Path] = []
    for one in parse_formats(formats):
        chosen = options.of(one)
        if isinstance(chosen, ColmapOptions):
            files += [export_dir / "colmap" / name / file for file in colmap.file_names(chosen)]
        else:
            files.append(export_dir / one.value / f"{name}.{_SUFFIXES[one]}")
    return files
