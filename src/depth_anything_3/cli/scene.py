"""Compute the views of one scene, for the commands that do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import load_model, stderr
from depth_anything_3.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from depth_anything_3.inference.views import GivenCameras, ViewOptions
    from depth_anything_3.jobs.report import RunReport

__all__ = ["SceneRun", "clean", "compute_scene"]

_AT_NETWORK_SIZE = o.OutputOptions()
_FORMATS_WITHOUT_POSES = "depth_vis-npz"


@dataclass(frozen=True, kw_only=True)
class SceneRun:
    """Where and how the results of a scene are written.

    Attributes:
        results: output folder and formats; no formats: glb, or depth_vis-npz for a model that predicts no cameras.
        writers, metric, model: as the flags.
        resume, overwrite, auto_cleanup: as the flags.
        index: as the flag.
        report: whether report.json is written.
        output: size of the results.
    """

    results: o.ResultFlags
    writers: o.WriterFlags
    metric: o.MetricFlags
    model: o.ModelFlags
    resume: bool = False
    overwrite: bool = False
    auto_cleanup: bool = False
    index: bool = False
    report: bool = True
    output: o.OutputOptions = _AT_NETWORK_SIZE


def compute_scene(
    paths: Sequence[Path], run: SceneRun, options: ViewOptions, cameras: GivenCameras | None = None
) -> RunReport:
    """Load the model, and compute and write the views of one scene.

    Raises:
        DA3Error: see `run_views`.
    """
    from depth_anything_3.inference.views import GivenCameras
    from depth_anything_3.jobs.views import run_views

    loaded = load_model(run.model)
    results = run.results
    if not results.export_format:
        has_poses = loaded.card.has_poses
        results = replace(results, export_format="glb" if has_poses else _FORMATS_WITHOUT_POSES)
        if not has_poses:
            stderr.print(f"{loaded.model_name} predicts no cameras for glb: writing {_FORMATS_WITHOUT_POSES}")
    destination = results.destination(run.writers, run.metric)
    clean(destination.folder, auto_cleanup=run.auto_cleanup, resume=run.resume)
    with stderr.status(f"computing depth of {len(paths)} view(s)"):
        return run_views(
            loaded.engine,
            paths,
            destination,
            replace(options, output=run.output),
            cameras or GivenCameras(),
            resume=run.resume,
            overwrite=run.overwrite,
            report_file=destination.folder / "report.json" if run.report else None,
            index=run.index,
        )


def clean(folder: Path, *, auto_cleanup: bool, resume: bool) -> None:
    """With --auto-cleanup, remove the results of earlier runs.

    Raises:
        InvalidInputError: --auto-cleanup together with --resume, or the manifest is damaged.
    """
    if not auto_cleanup:
        return
    if resume:
        raise InvalidInputError("--auto-cleanup removes what --resume would skip; omit one of them")
    from depth_anything_3.jobs.manifest import Manifest

    Manifest(folder).remove_results()
