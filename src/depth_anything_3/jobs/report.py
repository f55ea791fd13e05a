"""Collect and write the report of a run."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from depth_anything_3.errors import ExportError, InputFileError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.inputs.video import SourceInfo
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.utc_time import utc_now

__all__ = ["ImageRecord", "OnProgress", "RunReport", "no_progress", "reported"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """What became of one image, view or video.

    Attributes:
        source: its path, or its index and type.
        status: "written", "skipped" (its results existed already) or "failed".
        outputs: paths of its results.
        size: (height, width) of the upright source in pixels; None if unknown.
        seconds: time by stage; of views that were computed together, an equal share.
        strategy, reason: the strategy, and why it was chosen.
        warnings: what is doubtful about the result.
        error_class, error: class and message of the error.
        id: of a stored image that failed.
    """

    source: str
    status: str
    outputs: list[str] = field(default_factory=list)
    size: list[int] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    strategy: str = ""
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    error_class: str = ""
    error: str = ""
    id: str = ""

    def in_words(self) -> str:
        """Say on one line how an image was computed, and how long each stage took."""
        times = ", ".join(f"{stage} {1e3 * seconds:.1f} ms" for stage, seconds in self.seconds.items())
        return f"{self.source}: strategy {self.strategy} ({self.reason}); {times}"


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
        records: one for each image, in order; of a video, one for all its frames.
        left: images that the run did not reach: the source, by the name of its results.
        shard: the shard, such as "0/7"; None: the run was not split.
        total: number of images of all shards together; None: unknown.
        is_streamed: whether images were listed while others were computed: `left` is empty, and `total` is known at the
            end. Without results in a folder on disk, `records` are those of failures only.
        began, ended: times in UTC; `ended` is empty as long as the run goes on, and if it was killed.
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
    records: list[ImageRecord] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    shard: str | None = None
    total: int | None = None
    is_streamed: bool = False
    began: str = ""
    ended: str = ""

    @classmethod
    def of(cls, engine: Engine, export_dir: str | os.PathLike[str]) -> RunReport:
        """Make the report of a run that has not started."""
        return cls(export_dir=os.fspath(export_dir), device=str(engine.device), network=engine.card.name)

    @classmethod
    def read(cls, path: Path) -> RunReport:
        """Read a report.

        Raises:
            InputFileError: the file cannot be read, or is no report.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputFileError(
                f"{path}: is not the report of a run ({error.strerror}); delete it, or run again"
            ) from error
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, name: str) -> RunReport:
        """Parse the content of a file of this name. Errors as in `read`."""
        try:
            return cls.from_dict(json.loads(content.decode("utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputFileError(f"{name}: is not the report of a run ({error}); delete it, or run again") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunReport:  # Any: plain JSON values
        """Make a report from what `as_dict` returned.

        Raises:
            ValueError, TypeError, AttributeError: it is something else.
        """
        known = {one.name for one in fields(cls)} & values.keys()
        report = cls(**{name: values[name] for name in known})
        report.records = [ImageRecord(**one) for one in report.records]  # type: ignore[arg-type]  # plain values
        if not known >= {"images", "failures", "records"}:
            raise ValueError("it has no images, failures or records")
        return report

    @property
    def images_per_second(self) -> float:
        """Images written per second of wall-clock time."""
        return self.images / self.wall_seconds if self.wall_seconds else 0.0

    def add_prediction(
        self, prediction: Prediction, export_seconds: float, outputs: Sequence[Path], *, keep_records: bool = True
    ) -> None:
        """Record a prediction that was written: an image, or the views of a scene.

        Args:
            prediction: the prediction.
            export_seconds: time that writing took.
            outputs: the files.
            keep_records: whether each view gets a record.
        """
        count = len(prediction.depth)
        self.images += count
        seconds = {**prediction.seconds, "export": export_seconds}
        for stage, value in seconds.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + value
        self.add_choices(prediction.choices)
        if not keep_records:
            return
        files = list(map(str, outputs))
        share = {stage: value / count for stage, value in seconds.items()}
        for source, size, choice in zip_longest(prediction.sources, prediction.source_hw, prediction.choices):
            own = f"{source}: "  # how the texts about this view begin
            warnings = [one for one in prediction.warnings if count == 1 or one.startswith(own)]
            self.records.append(
                ImageRecord(
                    source=source or "",
                    status="written",
                    outputs=files,
                    size=list(size) if size else None,
                    seconds=share,
                    strategy=choice.strategy.value if choice else "",
                    reason=choice.reason if choice else "",
                    warnings=warnings,
                )
            )
            logger.debug("%s", self.records[-1].in_words())

    def add_video(self, info: SourceInfo, outputs: Sequence[Path], warnings: Sequence[str]) -> None:
        """Record a video whose frames were written, which are in the sums already."""
        reasons = [(count, name, reason) for name, one in self.strategies.items() for reason, count in one.items()]
        _, strategy, reason = max(reasons, default=(0, "", ""))
        self.records.append(
            ImageRecord(
                source=info.label,
                status="written",
                outputs=list(map(str, outputs)),
                size=list(info.size_hw) if info.size_hw else None,
                seconds=dict(self.stage_seconds),
                strategy=strategy,
                reason=reason,
                warnings=list(warnings),
            )
        )

    def add_skipped(self, source: str, outputs: Sequence[Path]) -> None:
        """Record an image whose results existed already."""
        self.skipped += 1
        self.records.append(ImageRecord(source=source, status="skipped", outputs=list(map(str, outputs))))

    def add_choices(self, choices: Sequence[RoutingDecision]) -> None:
        """Record the strategies of images."""
        for one in choices:
            reasons = self.strategies.setdefault(one.strategy.value, {})
            reasons[one.reason] = reasons.get(one.reason, 0) + 1

    def add_focal_lengths(self, origins: Sequence[str]) -> None:
        """Record the sources of focal lengths."""
        for one in origins:
            self.focal_lengths[one] = self.focal_lengths.get(one, 0) + 1

    def add_failure(self, label: str, error: Exception, *, id: str = "") -> None:
        """Record an image that failed; `id` as in `ImageRecord`."""
        self.failures.append({"image": label, "error": str(error)})
        self.records.append(
            ImageRecord(source=label, status="failed", error_class=type(error).__name__, error=str(error), id=id)
        )

    def update_left(self) -> None:
        """Remove from `left` the images that have a record."""
        done = {one.source for one in self.records}
        self.left = {name: source for name, source in self.left.items() if source not in done}

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


class OnProgress(Protocol):
    """Called for each image or frame that is done, with the number of failures so far."""

    def __call__(self, failed: int = 0, /) -> None:
        """Count one more."""


def no_progress(failed: int = 0, /) -> None:
    """Do nothing."""


@contextmanager
def reported(
    report: RunReport, file: Path | None, planned: Mapping[str, str] | None = None, *, early: bool = False
) -> Iterator[None]:
    """Time the block, record what ends it early, and write the report at its end.

    Args:
        report: of the run.
        file: where to write it.
        planned: all images of the run: the source, by the name of its results.
        early: also write the report before the block, so that it is known what a run that was killed has not reached.
    """
    began = time.perf_counter()
    report.began, report.left = utc_now(), dict(planned or {})
    report.update_left()
    if early and file is not None:
        report.write(file)
    try:
        yield
    except BaseException as error:  # Ctrl-C too
        report.stopped_by = str(error) or ("Ctrl-C" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    finally:
        report.wall_seconds = report.wall_seconds or time.perf_counter() - began  # or those of other processes
        report.ended = utc_now()
        report.update_left()
        try:
            if file is not None:
                report.write(file)
        except ExportError as error:
            if report.stopped_by is None:
                raise
            logger.warning("no report was written: %s", error)  # the error that stopped the run is raised
