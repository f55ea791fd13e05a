"""Collect and write the report of a run."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from depth_anything_3.errors import ExportError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["RunReport", "reported"]

logger = logging.getLogger(__name__)


@dataclass
class RunReport:
    """Counts, times and failures of a run.

    Attributes:
        images: number of images whose results were written.
        skipped: number of images whose results existed already.
        failures: name and error of each image that failed.
        wall_seconds: from the first image requested to the last file written; excludes loading and compiling the model.
        stage_seconds: time by stage; decode and resample are summed over workers, and stages overlap.
        export_dir: output folder.
        strategies: number of images by strategy and by reason.
        focal_lengths: number of images by the source of the focal length used for metric depth.
        device, network: names of the device and the model.
        stopped_by: why the run ended early: "Ctrl-C", "SIGTERM", or an error message; None if it did not.
    """

    images: int = 0
    skipped: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    wall_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    export_dir: str = ""
    strategies: dict[str, dict[str, int]] = field(default_factory=dict)
    focal_lengths: dict[str, int] = field(default_factory=dict)
    device: str = ""
    network: str = ""
    stopped_by: str | None = None

    @classmethod
    def of(cls, engine: Engine, export_dir: str | os.PathLike[str]) -> RunReport:
        """Make the report of a run that has not started."""
        return cls(export_dir=os.fspath(export_dir), device=str(engine.device), network=engine.card.name)

    @property
    def images_per_second(self) -> float:
        """Images written per second of wall-clock time."""
        return self.images / self.wall_seconds if self.wall_seconds else 0.0

    def add_prediction(self, prediction: Prediction, export_seconds: float) -> None:
        """Record a prediction that was written: an image, or the views of a scene."""
        self.images += len(prediction.depth)
        for stage, seconds in {**prediction.seconds, "export": export_seconds}.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds
        self.add_choices(prediction.choices)

    def add_choices(self, choices: Sequence[RoutingDecision]) -> None:
        """Record the strategies of images."""
        for one in choices:
            reasons = self.strategies.setdefault(one.strategy.value, {})
            reasons[one.reason] = reasons.get(one.reason, 0) + 1

    def add_focal_lengths(self, origins: Sequence[str]) -> None:
        """Record the sources of focal lengths."""
        for one in origins:
            self.focal_lengths[one] = self.focal_lengths.get(one, 0) + 1

    def add_failure(self, failure: ImageFailure) -> None:
        """Record an image that failed."""
        self.failures.append({"image": failure.label, "error": str(failure.error)})

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return all fields as plain JSON values."""
        return {**asdict(self), "images_per_second": self.images_per_second}

    def write(self, path: Path) -> None:
        """Write all fields as JSON.

        Raises:
            ExportError: the file cannot be written.
        """
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")


@contextmanager
def reported(report: RunReport, file: Path | None) -> Iterator[None]:
    """Time the block, record what ends it early, and write the report at its end."""
    began = time.perf_counter()
    try:
        yield
    except BaseException as error:  # Ctrl-C too
        report.stopped_by = str(error) or ("Ctrl-C" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    finally:
        report.wall_seconds = time.perf_counter() - began
        try:
            if file is not None:
                report.write(file)
        except ExportError as error:
            if report.stopped_by is None:
                raise
            logger.warning("no report was written: %s", error)  # the error that stopped the run is raised
