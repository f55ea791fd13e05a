"""A `Prediction` in, files out. One file a format; names are joined with '-', as upstream does."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export import depth_png, depth_vis, npz
from depth_anything_3.prediction import Prediction

__all__ = ["ExportFormat", "export", "parse_formats", "result_files"]


class ExportFormat(str, Enum):
    """What can be written."""

    MINI_NPZ = "mini_npz"
    NPZ = "npz"
    DEPTH_PNG = "depth_png"
    DEPTH_VIS = "depth_vis"


_WRITERS: dict[ExportFormat, Callable[[Prediction, Path, str | None], list[Path]]] = {
    ExportFormat.MINI_NPZ: npz.write_mini,
    ExportFormat.NPZ: npz.write,
    ExportFormat.DEPTH_PNG: depth_png.write,
    ExportFormat.DEPTH_VIS: depth_vis.write,
}

_SUFFIXES: dict[ExportFormat, str] = {
    ExportFormat.MINI_NPZ: ".npz",
    ExportFormat.NPZ: ".npz",
    ExportFormat.DEPTH_PNG: ".png",
    ExportFormat.DEPTH_VIS: ".jpg",
}

_UPSTREAM_ONLY = ("glb", "colmap", "feat_vis", "gs_ply", "gs_video")


def parse_formats(names: str) -> tuple[ExportFormat, ...]:
    """The formats in a string such as "npz-depth_vis".

    Raises:
        InvalidInputError: a name is unknown.
        UnsupportedError: it is one of upstream's that this version does not write.
    """
    known = {one.value: one for one in ExportFormat}
    parts = [part for part in names.split("-") if part]
    unknown = [part for part in parts if part not in known]
    later = [part for part in unknown if part in _UPSTREAM_ONLY]
    if later:
        raise UnsupportedError(f"export format {later[0]!r} is not in this version; there are: {', '.join(known)}")
    if unknown or not parts:
        raise InvalidInputError(
            f"export format {unknown[0] if unknown else names!r} is unknown; "
            f"join some of these with '-': {', '.join(known)}"
        )
    return tuple(dict.fromkeys(known[part] for part in parts))


def export(prediction: Prediction, export_dir: Path, formats: str, name: str | None = None) -> list[Path]:
    """Write a prediction in each format.

    Args:
        prediction: what to write.
        export_dir: folder to write into; made if missing. Files already there are replaced, each in one step.
        formats: names joined with '-'.
        name: of an independent image, used as its files' name (`depth_png/NAME.png`). Without it the prediction is
            a scene and its views are numbered, in upstream's folders (`depth_vis/0000.jpg`, `exports/npz/results.npz`).

    Returns:
        The files written.

    Raises:
        InvalidInputError: a format is unknown, or the prediction lacks what it needs.
        ExportError: a file cannot be written.
    """
    written: list[Path] = []
    for one in parse_formats(formats):
        written += _WRITERS[one](prediction, export_dir, name)
    return written


def result_files(export_dir: Path, formats: str, name: str) -> list[Path]:
    """The files that `export` writes for one independent image of this name.

    Raises:
        InvalidInputError: a format is unknown.
    """
    return [export_dir / one.value / f"{name}{_SUFFIXES[one]}" for one in parse_formats(formats)]
