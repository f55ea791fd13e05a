"""Check that formats can be written, before anything is computed."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from depth_anything_3.errors import ExportError, InvalidInputError, UnsupportedError
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.export.gsplat_rasterizer import check_cuda
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import DEFAULT_FORMAT, ExportFormat, Formats, format_names, parse_formats
from depth_anything_3.model.catalog import models_that
from depth_anything_3.runtime.packages import install_hint

__all__ = ["check_export_dir", "check_formats", "check_writing"]

logger = logging.getLogger(__name__)

_MISSING = {
    "images": "the images as the network saw them (processed_images), which {owner} does not have; a results.npz holds "
    "them, a mini_npz does not",
    "poses": "camera poses, which {owner} does not have; use {with_poses}, or write depth alone: npz, depth_png, "
    "tiff, exr, or the ply of one image whose intrinsics are given",
    "intrinsics": "the camera's focal length, which {owner} does not have; pass intrinsics=; or use {with_poses}, "
    "which predict it",
    "gaussians": "3D Gaussians, which are predicted only on request; pass infer_gs=True with "
    "{with_gaussians}; or write points: ply, glb",
    "features": "features of the backbone; pass export_feat_layers=[11], for example",
    "paths": "the names of the image files; compute depth from paths (results.npz does not hold the names), or write "
    "glb or ply",
    "poses_of_views": "camera poses for several views, which {owner} does not have; compute the images independently "
    "with `stream()`, so that each gets its own file",
    "uncropped": "uncropped images, because its cameras are in pixels of the files; use process_res_method "
    "upper_bound_resize or lower_bound_resize instead of *_crop",
}
"""Description of each missing field, with a hint, by the names of `RequiredFields`."""


def check_writing(
    export_dir: str | os.PathLike[str] | None, formats: Formats, options: ExportOptions, available: AvailableFields
) -> tuple[ExportFormat, ...]:
    """Check a request to write results, before anything is computed; warn of options without effect.

    Args:
        export_dir: output folder; None: nothing is to be written.
        formats: as for `parse_formats`; `DEFAULT_FORMAT` itself if the caller gave none.
        options: options of the writers.
        available: fields that the prediction will have.

    Returns:
        The formats; none without a folder.

    Raises:
        InvalidInputError: a format without a folder, or as `check_formats`.
        UnsupportedError: as `check_formats`.
        ExportError: as `check_export_dir`.
    """
    if export_dir is not None:
        parsed = check_formats(formats, available, options)
        check_export_dir(export_dir)
        _warn_of_unused(options, parsed, f"for {format_names(parsed)}")
        return parsed
    given = {"export_format": formats is not DEFAULT_FORMAT, "export_kwargs": bool(options.export_kwargs)}
    for name in (name for name, is_given in given.items() if is_given):
        raise InvalidInputError(f"{name} without export_dir: nothing would be written; pass export_dir, or omit {name}")
    _warn_of_unused(options, (), "without export_dir")
    return ()


def _warn_of_unused(options: ExportOptions, formats: tuple[ExportFormat, ...], where: str) -> None:
    unused = options.unused_by(formats)
    if unused:
        logger.warning("%s: no effect %s", ", ".join(unused), where)


def check_export_dir(export_dir: str | os.PathLike[str]) -> None:
    """Check that a path can be an output folder: that neither it nor a folder above it is a file.

    Raises:
        ExportError: one is.
    """
    path = Path(export_dir)
    for one in (path, *path.parents):
        if os.path.isdir(one):
            return
        if os.path.lexists(one) and not one.is_symlink():
            raise ExportError(f"{one}: a file, so results cannot be written there; give a folder")


def check_formats(
    formats: Formats, available: AvailableFields, options: ExportOptions | None = None
) -> tuple[ExportFormat, ...]:
    """Raise an error for formats that cannot be written.

    Args:
        formats: as for `parse_formats`.
        available: fields that the prediction has, or will have.
        options: as for `export`.

    Returns:
        The formats.

    Raises:
        InvalidInputError: a format or an option is unknown, or the value of an option is not accepted.
        UnsupportedError: a format requires a field that is not available, or a package that is not installed.
    """
    options = ExportOptions() if options is None else options
    parsed = parse_formats(formats)
    for one in parsed:
        options.of(one)
        _check_format(one, available)
    return parsed


def _check_format(one: ExportFormat, available: AvailableFields) -> None:
    missing = one.required.missing_from(available)
    if missing is not None:
        raise UnsupportedError(f"{one.name} needs {_hint(missing, available.owner)}")
    for package, extra in one.packages:
        if importlib.util.find_spec(package) is None:
            hint = f"run pip install {package}" if extra is None else install_hint(extra)
            raise UnsupportedError(f"{one.name} needs the package {package}, which is not installed; {hint}")
    if one.needs_cuda:
        check_cuda(one.name)


def _hint(missing: str, owner: str) -> str:
    return _MISSING[missing].format(
        owner=owner,
        with_poses=models_that(lambda card: card.has_poses),
        with_gaussians=models_that(lambda card: card.has_gaussians),
    )
