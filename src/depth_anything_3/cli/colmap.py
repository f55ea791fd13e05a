"""Define `da3 colmap`, which computes depth of a COLMAP workspace."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, stderr
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.errors import InputFileError
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["colmap"]

logger = logging.getLogger(__name__)

_MAX_LISTED = 5  # images that a warning lists

_RESULTS = o.ResultFlags(export_format="glb-npz")


@grouped
def colmap(
    folder: Annotated[Path, typer.Argument(help="Workspace: a folder with images and a sparse model.", metavar="DIR")],
    *,
    results: o.ResultFlags = _RESULTS,
    model: o.ModelFlags,
    images_subdir: Annotated[str, typer.Option(help="Image folder, relative to DIR.")] = "images",
    sparse_subdir: Annotated[
        str,
        typer.Option(
            help="Folder of the sparse model, relative to DIR/sparse or DIR. Default: the first of sparse/0, sparse "
            "and DIR that has one."
        ),
    ] = "",
    align_to_input_ext_scale: Annotated[
        bool, typer.Option(help="Write the given cameras and scale depth to their unit, or write depth as predicted.")
    ] = True,
    preprocess: Annotated[PreprocessOptions, Omit(("exif", "on_error"))],  # the sparse model decides on EXIF
    network: Annotated[o.NetworkFlags, Omit(("ref_view_strategy",))],
    find: Annotated[o.FindFlags, Omit(("recursive",))],
    writers: o.WriterFlags,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    auto_cleanup: o.AutoCleanup = False,
) -> None:
    """Compute depth of a COLMAP workspace, conditioned on the cameras of its sparse model."""
    from depth_anything_3.export.colmap import find_sparse_model, given_cameras, pair_images, read_sparse_model
    from depth_anything_3.export.registry import FORMATS
    from depth_anything_3.inference.views import GivenCameras, ViewOptions
    from depth_anything_3.inputs.choices import Exif
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.views import run_views
    from depth_anything_3.runtime.devices import choose_device

    destination = results.destination(writers, o.MetricFlags())
    check_device(choose_device(model.device), preprocess)
    computed = network.options()
    model_folder = find_sparse_model(folder, sparse_subdir or None)
    images = folder / images_subdir
    if not images.is_dir():
        if images_subdir != "images":
            raise InputFileError(f"{images}: no such folder; give the image folder with --images-subdir")
        images = folder
    written = [destination.folder / one.name for one in FORMATS]  # may be inside the workspace
    paths = find_images([str(images)], find.image_extensions, recursive=True, exclude=written)
    pairing = pair_images(read_sparse_model(model_folder), paths, images)
    unpaired = {"images without a pose": pairing.without_pose, "poses without an image": pairing.without_image}
    for kind, skipped in unpaired.items():
        if skipped:
            listed = [str(one) for one in skipped[:_MAX_LISTED]] + ["..."] * (len(skipped) > _MAX_LISTED)
            logger.warning("skipped %d %s: %s", len(skipped), kind, ", ".join(listed))
    exif, intrinsics = given_cameras(pairing, preprocess)
    loaded = load_model(model)
    with stderr.status(f"computing depth of {len(pairing.paths)} view(s)"):
        report = run_views(
            loaded.engine,
            pairing.paths,
            destination,
            ViewOptions(preprocess=replace(preprocess, exif=Exif(exif)), network=computed),
            GivenCameras(pairing.extrinsics, intrinsics, align_to_input_ext_scale),
            resume=resume,
            overwrite=overwrite,
            report_file=destination.folder / "report.json",
        )
    finish(colmap, report, as_json)
