"""Where and how the results of a scene are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import stderr
from depth_anything_3.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SceneRun", "clean", "formats_without_choice"]

_NO_BACKEND = o.BackendFlags()
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
        backend: whether a server computes.
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
    backend: o.BackendFlags = _NO_BACKEND


def formats_without_choice(model_name: str, has_poses: bool) -> str:
    """Return the formats to write if none were asked for."""
    if has_poses:
        return "glb"
    stderr.print(f"{model_name} predicts no cameras for glb: writing {_FORMATS_WITHOUT_POSES}")
    return _FORMATS_WITHOUT_POSES


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
