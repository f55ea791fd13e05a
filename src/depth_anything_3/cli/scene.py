"""Compute the views of one scene, for the commands that do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from depth_anything_3.cli.console import load_model, stderr
from depth_anything_3.cli.scene_run import SceneRun, clean, formats_without_choice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from depth_anything_3.inference.views import GivenCameras, ViewOptions
    from depth_anything_3.jobs.report import RunReport

__all__ = ["compute_scene"]


def compute_scene(
    paths: Sequence[Path], run: SceneRun, options: ViewOptions, cameras: GivenCameras | None = None
) -> RunReport:
    """Load the model, and compute and write the views of one scene, or let a server do it.

    Raises:
        DA3Error: see `run_views` and `compute_at_backend`.
    """
    if run.backend.use_backend:
        from depth_anything_3.cli.backend_client import compute_at_backend

        return compute_at_backend(paths, run, options, cameras)
    from depth_anything_3.inference.views import GivenCameras
    from depth_anything_3.jobs.views import run_views

    loaded = load_model(run.model)
    results = run.results
    if not results.export_format:
        results = replace(results, export_format=formats_without_choice(loaded.model_name, loaded.card.has_poses))
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
