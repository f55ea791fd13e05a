"""Define `da3 colmap`, which computes depth of a COLMAP workspace."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.images import find_sources
from depth_anything_3.cli.scene import compute_scene
from depth_anything_3.cli.scene_run import SceneRun
from depth_anything_3.errors import InputFileError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.jobs.report import RunReport

__all__ = ["WorkspaceFlags", "colmap", "compute_workspace"]

logger = logging.getLogger(__name__)

_MAX_LISTED = 5  # images that a warning lists

_RESULTS = o.ResultFlags(export_format="glb-npz")


@dataclass(frozen=True)
class WorkspaceFlags:
    """Parts of a COLMAP workspace, and what its cameras are used for."""

    panel: ClassVar[str] = "Input"

    images_subdir: Annotated[str, typer.Option(help="Image folder of a COLMAP workspace.", metavar="FOLDER")] = "images"
    sparse_subdir: Annotated[
        str,
        typer.Option(
            help="Folder of the sparse model, in the workspace or its folder sparse. Default: the first of sparse/0, "
            "sparse and the workspace that has one.",
            metavar="FOLDER",
        ),
    ] = ""
    align_to_input_ext_scale: Annotated[
        bool,
        typer.Option(
            help="Write the given cameras and scale depth to their unit, or write depth as predicted.",
            rich_help_panel="Views and 3D",
        ),
    ] = True


@grouped
def colmap(
    folder: Annotated[Path, typer.Argument(help="Workspace: a folder with images and a sparse model.", metavar="DIR")],
    *,
    results: o.ResultFlags = _RESULTS,
    model: o.ModelFlags,
    workspace: WorkspaceFlags,
    preprocess: Annotated[PreprocessOptions, Omit(("exif", "on_error"))],  # the sparse model decides on EXIF
    output: o.OutputOptions,
    network: o.NetworkFlags,
    find: Annotated[o.FindFlags, Omit(("recursive",))],
    writers: o.WriterFlags,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    auto_cleanup: o.AutoCleanup = False,
    backend: o.BackendFlags,
    as_json: o.Json = False,
) -> None:
    """Compute depth of a COLMAP workspace, conditioned on the cameras of its sparse model."""
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.runtime.devices import choose_device

    results.destination(writers, o.MetricFlags())  # misuse is reported before anything is read
    check_device(choose_device(model.device), preprocess)
    run = SceneRun(
        results=results,
        writers=writers,
        metric=o.MetricFlags(),
        model=model,
        resume=resume,
        overwrite=overwrite,
        auto_cleanup=auto_cleanup,
        output=output,
        backend=backend,
    )
    finish(colmap, compute_workspace(folder, workspace, find, preprocess, network, run), as_json)


def compute_workspace(
    folder: Path,
    workspace: WorkspaceFlags,
    find: o.FindFlags,
    preprocess: PreprocessOptions,
    network: o.NetworkFlags,
    run: SceneRun,
) -> RunReport:
    """Compute the images of a COLMAP workspace as views of one scene.

    Raises:
        InputFileError: the workspace has no sparse model, or its images are missing.
        DA3Error: see `compute_scene`.
    """
    from depth_anything_3.export.colmap import find_sparse_model, given_cameras, pair_images, read_sparse_model
    from depth_anything_3.inference.views import GivenCameras, ViewOptions
    from depth_anything_3.inputs.choices import Exif

    model_folder = find_sparse_model(folder, workspace.sparse_subdir or None)
    images = folder / workspace.images_subdir
    if not images.is_dir():
        if workspace.images_subdir != "images":
            raise InputFileError(f"{images}: no such folder; give the image folder with --images-subdir")
        images = folder
    found = find_sources([str(images)], replace(find, recursive=True), run.results.export_dir)
    pairing = pair_images(read_sparse_model(model_folder), [one.path for one in found], images)
    unpaired = {"images without a pose": pairing.without_pose, "poses without an image": pairing.without_image}
    for kind, skipped in unpaired.items():
        if skipped:
            listed = [str(one) for one in skipped[:_MAX_LISTED]] + ["..."] * (len(skipped) > _MAX_LISTED)
            logger.warning("skipped %d %s: %s", len(skipped), kind, ", ".join(listed))
    exif, intrinsics = given_cameras(pairing, preprocess)
    options = ViewOptions(preprocess=replace(preprocess, exif=Exif(exif)), network=network.options())
    cameras = GivenCameras(pairing.extrinsics, intrinsics, workspace.align_to_input_ext_scale)
    return compute_scene(pairing.paths, run, options, cameras)
