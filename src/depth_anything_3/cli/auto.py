"""Define `da3 auto`, which computes views of one scene from any input, as upstream's command does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.colmap import WorkspaceFlags, compute_workspace
from depth_anything_3.cli.console import finish, stderr
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.images import PREPROCESS, find_sources
from depth_anything_3.cli.scene import compute_scene
from depth_anything_3.cli.scene_run import SceneRun
from depth_anything_3.cli.video import SelectionFlags, compute_video_scene
from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["auto"]

_RESULTS = o.ResultFlags(export_format="")
_VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})


@grouped
def auto(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="An image, a folder of images, a video, or a COLMAP workspace; or several images.", metavar="SOURCE"
        ),
    ],
    *,
    results: o.ResultFlags = _RESULTS,
    model: o.ModelFlags,
    frames: Annotated[SelectionFlags, Omit(("raw",))],
    workspace: WorkspaceFlags,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    auto_cleanup: o.AutoCleanup = False,
    index: o.Index = False,
    metric: o.MetricFlags,
    find: o.FindFlags,
    preprocess: PreprocessOptions = PREPROCESS,
    output: o.OutputOptions,
    network: o.NetworkFlags,
    writers: o.WriterFlags,
    backend: o.BackendFlags,
    scene: Annotated[bool, typer.Option("--scene", hidden=True)] = False,  # what the command does anyway
    as_json: o.Json = False,
) -> None:
    """Compute the views of one scene from images, a video (one frame per second) or a COLMAP workspace.

    Write glb, or depth_vis and npz for a model that predicts no cameras, unless --export-format is given. For unrelated
    images use da3 images, for every frame of a video da3 video.
    """
    from depth_anything_3.inference.views import ViewOptions
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.runtime.devices import choose_device

    if results.export_format:
        results.destination(writers, metric)  # misuse is reported before anything is read
    check_device(choose_device(model.device), preprocess)
    run = SceneRun(
        results=results,
        writers=writers,
        metric=metric,
        model=model,
        resume=resume,
        overwrite=overwrite,
        auto_cleanup=auto_cleanup,
        index=index,
        output=output,
        backend=backend,
    )
    first = sources[0]
    if len(sources) == 1 and _is_workspace(first, workspace):
        stderr.print(f"{first}: a COLMAP workspace", markup=False)
        raising = replace(preprocess, on_error=OnError.RAISE)  # each image has its camera
        report = compute_workspace(Path(first), workspace, find, raising, network, run)
    elif len(sources) == 1 and _is_video(first):
        stderr.print(f"{first}: a video", markup=False)
        if resume:
            raise InvalidInputError("--resume does not work with a video in da3 auto; omit it, or use da3 video")
        report = compute_video_scene(first, frames, preprocess, network, run)
    else:
        found = find_sources(sources, find, results.export_dir)
        options = ViewOptions(preprocess=preprocess, network=network.options())
        report = compute_scene([one.path for one in found], replace(run, report=len(found) > 1), options)
    finish(auto, report, as_json, index=index)


def _is_workspace(source: str, flags: WorkspaceFlags) -> bool:
    """Whether a source is a folder with a sparse model, or was said to have one."""
    from depth_anything_3.export.colmap import find_sparse_model

    if not os.path.isdir(source):
        return False
    try:
        find_sparse_model(source, flags.sparse_subdir or None)
    except InputFileError:
        if flags.sparse_subdir:
            raise
        return False
    return True


def _is_video(source: str) -> bool:
    """Whether a source is an address, or a video by its first bytes or its name."""
    from depth_anything_3.inputs.file_kind import file_kind

    if "://" in source:
        return True
    try:
        with open(source, "rb") as file:
            kind = file_kind(file.read(1024))
    except (OSError, ValueError):  # a folder, a pattern, a list, or missing
        return False
    return kind.is_video if kind is not None else Path(source).suffix.lower() in _VIDEO_SUFFIXES
