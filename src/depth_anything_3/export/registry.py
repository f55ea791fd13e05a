"""Register the export formats.

To add a format, write a module in `export/formats` with a function `write`, and add a row here. The help of `da3` and
the tables in docs/exports.md are made from the rows. Importing this module is cheap: writers are imported on first use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.fields import AvailableFields, RequiredFields

if TYPE_CHECKING:
    from pathlib import Path

    from depth_anything_3.export.format_options import FormatOptions
    from depth_anything_3.prediction import Prediction

__all__ = [
    "DEFAULT_FORMAT",
    "FORMATS",
    "ExportFormat",
    "Formats",
    "find_format",
    "format_names",
    "formats_for",
    "formats_table",
    "options_table",
    "parse_formats",
    "unknown_format",
]


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """One row of the registry.

    Functions and classes are given as "module:name", with a module of `export/formats`.

    Attributes:
        name: as users write it; also the folder that holds results of independent images.
        help: the content, as a short noun phrase.
        writer: function `(prediction, export_dir, name, options)` that returns the paths it wrote; a format without
            options takes the first three.
        suffix: suffix of the file of an independent image.
        file_names: function of the options that returns several file names, in one folder per image; None: one file.
        views_files: paths of the files of views, for the documentation.
        read_by: programs that read the format, for the documentation.
        required: fields that the prediction must have.
        packages: required optional packages by import name, each with the extra that installs it (None: no extra).
        needs_cuda: whether writing needs a CUDA device.
        options: class of the options.
    """

    name: str
    help: str
    writer: str
    suffix: str
    views_files: tuple[str, ...]
    read_by: str
    file_names: str | None = None
    required: RequiredFields = RequiredFields()  # noqa: RUF009 (frozen)
    packages: tuple[tuple[str, str | None], ...] = ()
    needs_cuda: bool = False
    options: str | None = None

    def options_class(self) -> type[FormatOptions]:
        """Load the class of this format's options."""
        from depth_anything_3.export.format_options import FormatOptions

        loaded: type[FormatOptions] = FormatOptions if self.options is None else _load(self.options)
        return loaded

    def write(self, prediction: Prediction, export_dir: Path, name: str | None, options: FormatOptions) -> list[Path]:
        """Write a prediction.

        Args:
            prediction: with the fields that are required.
            export_dir: folder of the results.
            name: file name of an independent image, without suffix; None for views.
            options: of the class `options_class`.

        Returns:
            Paths of the files.
        """
        writer: Callable[..., list[Path]] = _load(self.writer)
        return writer(prediction, export_dir, name, *(() if self.options is None else (options,)))

    def image_files(self, export_dir: Path, name: str, options: FormatOptions) -> list[Path]:
        """List the files that `write` writes for an independent image of this name."""
        folder = export_dir / self.name
        if self.file_names is None:
            return [folder / f"{name}{self.suffix}"]
        names: Callable[[FormatOptions], Iterable[str]] = _load(self.file_names)
        return [folder / name / file for file in names(options)]


FORMATS: tuple[ExportFormat, ...] = (
    ExportFormat(
        name="mini_npz",
        help="depth, confidence, cameras for NumPy",
        writer="npz:write_mini",
        suffix=".npz",
        views_files=("exports/mini_npz/results.npz",),
        read_by="NumPy, `load_prediction`",
    ),
    ExportFormat(
        name="npz",
        help="mini_npz and the image",
        writer="npz:write",
        suffix=".npz",
        views_files=("exports/npz/results.npz",),
        read_by="NumPy, `load_prediction`",
    ),
    ExportFormat(
        name="depth_png",
        help="depth as 16-bit PNG with its scale",
        writer="depth_png:write",
        suffix=".png",
        views_files=("depth_png/0000.png",),
        read_by="any image viewer or library",
        options="depth_png:DepthPngOptions",
    ),
    ExportFormat(
        name="depth_vis",
        help="image and coloured depth as JPEG",
        writer="depth_vis:write",
        suffix=".jpg",
        views_files=("depth_vis/0000.jpg",),
        read_by="any image viewer",
        required=RequiredFields(images=True),
        options="depth_vis:ColorOptions",
    ),
    ExportFormat(
        name="depth_color",
        help="coloured depth as PNG",
        writer="depth_color:write",
        suffix=".png",
        views_files=("depth_color/0000.png",),
        read_by="any image viewer",
        options="depth_color:ColorOptions",
    ),
    ExportFormat(
        name="tiff",
        help="depth as float32 TIFF",
        writer="tiff:write",
        suffix=".tiff",
        views_files=("tiff/0000.tiff",),
        read_by="tifffile, OpenCV, GIS programs",
    ),
    ExportFormat(
        name="exr",
        help="depth as float32 OpenEXR, channel Z",
        writer="exr:write",
        suffix=".exr",
        views_files=("exr/0000.exr",),
        read_by="Blender, Nuke",
        packages=(("OpenEXR", "exr"),),
    ),
    ExportFormat(
        name="feat_vis",
        help="coloured features as JPEG and MP4",
        writer="feat_vis:write",
        suffix=".jpg",
        views_files=("feat_vis/feat_layer_K/000000.jpg", "feat_vis/feat_layer_K.mp4"),
        read_by="any image viewer",
        required=RequiredFields(images=True, features=True),
        options="feat_vis:FeatVisOptions",
    ),
    ExportFormat(
        name="ply",
        help="coloured point cloud",
        writer="ply:write",
        suffix=".ply",
        views_files=("scene.ply",),
        read_by="MeshLab, CloudCompare, Open3D",
        required=RequiredFields(intrinsics=True, poses_of_views=True),
        options="ply:PointOptions",
    ),
    ExportFormat(
        name="glb",
        help="points and cameras as glTF scene",
        writer="glb:write",
        suffix=".glb",
        views_files=("scene.glb", "scene.jpg", "depth_vis/0000.jpg"),
        read_by="Blender, three.js, any glTF viewer",
        required=RequiredFields(images=True, poses=True, intrinsics=True),
        packages=(("trimesh", None),),
        options="glb:GlbOptions",
    ),
    ExportFormat(
        name="colmap",
        help="cameras and points for COLMAP",
        writer="colmap:write",
        suffix=".bin",
        file_names="colmap:file_names",
        views_files=("cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin"),
        read_by="COLMAP 3.12 and later, pycolmap, trainers of 3DGS",
        required=RequiredFields(images=True, poses=True, intrinsics=True, paths=True, uncropped=True),
        options="colmap:ColmapOptions",
    ),
    ExportFormat(
        name="gs_ply",
        help="3D Gaussians",
        writer="gs_ply:write",
        suffix=".ply",
        views_files=("gs_ply/0000.ply",),
        read_by="viewers of 3D Gaussian splatting",
        required=RequiredFields(gaussians=True),
        options="gs_ply:GsPlyOptions",
    ),
    ExportFormat(
        name="gs_video",
        help="rendered 3D Gaussians as MP4",
        writer="gs_video:write",
        suffix=".mp4",
        views_files=("gs_video/0000_MODE.mp4",),
        read_by="any video player",
        required=RequiredFields(poses=True, intrinsics=True, gaussians=True),
        packages=(("gsplat", "gsplat"), ("av", "video")),
        needs_cuda=True,
        options="gs_video:GsVideoOptions",
    ),
)


class _Default(str):
    """A default value that can be distinguished from an equal value that a caller gives."""


DEFAULT_FORMAT = _Default("mini_npz")
"""Upstream's default."""

Formats = str | Iterable[str | ExportFormat]
"""What `parse_formats` takes: names joined with '-', or names and rows of the registry."""


def parse_formats(formats: Formats, accepted: Sequence[str] | None = None) -> tuple[ExportFormat, ...]:
    """Parse format names; return the rows of the registry in that order, without duplicates.

    Args:
        formats: names joined with '-', such as "npz-depth_vis", or a sequence of names and rows.
        accepted: the names that the message lists; None: all.

    Raises:
        InvalidInputError: a name is unknown, or no name is given.
    """
    wanted = [one for one in (formats.split("-") if isinstance(formats, str) else formats) if one]
    if not wanted:
        raise InvalidInputError(unknown_format(formats, accepted))
    for one in wanted:
        if not isinstance(one, ExportFormat) and one not in _names():
            raise InvalidInputError(unknown_format(one, accepted))
    return tuple(dict.fromkeys(one if isinstance(one, ExportFormat) else find_format(one) for one in wanted))


def find_format(name: str) -> ExportFormat:
    """Find the row of a format.

    Raises:
        InvalidInputError: the name is unknown.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    raise InvalidInputError(unknown_format(name))


def unknown_format(name: object, accepted: Sequence[str] | None = None) -> str:
    """Word the message about an unknown format, with the accepted name that it resembles.

    Args:
        name: what was given.
        accepted: the accepted names; None: those of all formats.
    """
    names = _names() if accepted is None else accepted
    close = _similar(str(name), names)
    hint = f"did you mean {' or '.join(map(repr, close))}? Join" if close else "join"
    return f"export_format={name!r} is unknown; {hint} some of these with '-': {', '.join(names)}"


def _names() -> list[str]:
    return [one.name for one in FORMATS]


def _similar(name: str, accepted: Sequence[str]) -> list[str]:
    """Find the names that a word may mean: a part of one, a file's suffix, or a misspelling."""
    word = name.lower().lstrip(".")
    parts = [one for one in re.split(r"[\s,;+|/]+", word) if one]
    if len(parts) > 1 and all(one in accepted for one in parts):
        return ["-".join(parts)]
    suffix = {one.name for one in FORMATS if one.suffix == f".{word}" or (word == "jpeg" and one.suffix == ".jpg")}
    found = [one for one in accepted if one in suffix or (len(word) > 2 and word in one.split("_"))]
    return found or difflib.get_close_matches(word, accepted, 1)


def format_names(formats: Iterable[ExportFormat] | None = None) -> str:
    """List the names of some formats, or of all, for a message: "mini_npz, npz"."""
    return ", ".join(one.name for one in (FORMATS if formats is None else formats))


def formats_for(available: AvailableFields) -> tuple[ExportFormat, ...]:
    """Select the formats that a prediction with these fields can be written in."""
    return tuple(one for one in FORMATS if one.required.missing_from(available) is None)


def _load(reference: str) -> Any:  # Any: a function or class
    module, _, name = reference.partition(":")
    return getattr(import_module(f"depth_anything_3.export.formats.{module}"), name)


# Tables of docs/exports.md

_NEEDS = {
    "poses": "poses",
    "poses_of_views": "poses (if several views)",
    "intrinsics": "intrinsics",
    "gaussians": "`infer_gs`",
    "features": "`export_feat_layers`",
    "paths": "files",
    "uncropped": "no cropping",
}


def formats_table() -> str:
    """Make the table of formats in docs/exports.md."""
    rows = [
        (
            _code([one.name]),
            one.help,
            _code(one.views_files),
            _code([f"{one.name}/NAME{one.suffix}" if one.file_names is None else f"{one.name}/NAME/*{one.suffix}"]),
            _needs(one),
            one.read_by,
        )
        for one in FORMATS
    ]
    return _table(("format", "content", "of views", "of an independent image", "needs", "read by"), rows)


def options_table() -> str:
    """Make the table of the formats' options in docs/exports.md, with defaults. Imports the writers."""
    rows = [
        (_code([one.name]), ", ".join(f"`{option.name}` ({_shown(option.default)})" for option in options))
        for one in FORMATS
        if (options := fields(one.options_class()))
    ]
    return _table(("format", "options (default)"), rows)


def _needs(one: ExportFormat) -> str:
    needs = [_NEEDS[name] for name in one.required.names() if name in _NEEDS]
    needs += [f"extra `{extra}`" for _, extra in one.packages if extra is not None]
    return ", ".join(needs + ["CUDA"] * one.needs_cuda) or "-"


def _shown(default: object) -> str:
    return str(default.value if isinstance(default, Enum) else default)


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:], ""])
