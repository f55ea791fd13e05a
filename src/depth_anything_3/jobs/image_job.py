"""Describe a job over independent images, which may be computed in this process or in several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.images import run_images
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress
from depth_anything_3.jobs.shards import Shard, report_path

__all__ = ["ImageJob"]


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """What to compute, and where to write it; all of it can be pickled.

    Attributes:
        images, destination, options, resume, overwrite, index, shard: as of `run_images`.
    """

    images: Sequence[FoundImage]
    destination: Destination
    options: StreamOptions
    resume: bool = False
    overwrite: bool = False
    index: bool = False
    shard: Shard | None = None

    @property
    def report_file(self) -> Path:
        """The file of the report in the export folder."""
        return report_path(self.destination.folder, self.shard)

    def selected(self) -> list[FoundImage]:
        """Return the images of the shard."""
        return list(self.images) if self.shard is None else self.shard.select(self.images)

    def part(self, shard: Shard) -> ImageJob:
        """Return the job of another shard, such as a part of its own."""
        return replace(self, shard=shard)

    def compute(
        self, engine: Engine, *, report_file: Path | None = None, on_progress: OnProgress = no_progress
    ) -> RunReport:
        """Compute the images in this process.

        Args:
            engine: the network.
            report_file: where the report is written; None: in the export folder.
            on_progress: called once for each image that was written, failed or skipped.

        Raises:
            DA3Error: see `run_images`.
        """
        return run_images(
            engine,
            self.images,
            self.destination,
            self.options,
            resume=self.resume,
            overwrite=self.overwrite,
            report_file=report_file or self.report_file,
            index=self.index,
            shard=self.shard,
            on_progress=on_progress,
        )
