"""Compute independent images and write a result for each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from depth_anything_3.errors import DA3Error
from depth_anything_3.export import ExportOptions, export, result_files
from depth_anything_3.export.naming import result_names
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.inputs.earlier_results import SHARDS
from depth_anything_3.inputs.failure import ImageFailure, raise_failure
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.depth_facts import (
    THUMBNAILS,
    DepthFacts,
    depth_facts,
    thumbnail_colors,
    write_thumbnails,
)
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.index import indexed
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile, differences
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress, reported
from depth_anything_3.jobs.settings import destination_settings, network_settings
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.jobs.shared_range import Colored, HeldImages, check_shared_range, shared_formats
from depth_anything_3.jobs.temporary_files import MIN_AGE_S, remove_temporary_files
from depth_anything_3.prediction import Prediction

__all__ = ["remove_temporary", "run_images"]


def run_images(
    engine: Engine,
    images: Sequence[FoundImage | Path],
    destination: Destination,
    options: StreamOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report_file: Path | None = None,
    index: bool = False,
    shard: Shard | None = None,
    on_progress: OnProgress = no_progress,
) -> RunReport:
    """Compute depth of independent images, and write results in order while the network computes the next.

    On Ctrl-C, results that have been computed are written first.

    Args:
        engine: the network.
        images: images, in order, with the folders that results mirror; see `result_names`.
        destination: output folder and formats.
        options: preprocessing, network and batching.
        resume: skip images that the manifest of the folder lists as complete: computed with the same settings, from a
            file that has not changed since, and with all results there. Temporary files of a killed run are removed,
            so no other run may be writing to the folder; with `shard`, only those older than an hour.
        overwrite: with `resume`, compute images anew that were computed with other settings. Results of another source
            with the same name are replaced without a warning.
        report_file: JSON file for the report, written at the end of the run, also after an error or Ctrl-C.
        index: also write `index.html`, a page with all results of the folder, at the end of the run, as the report;
            and a thumbnail of each image, unless `depth_vis` is written. With `shard`, thumbnails only.
        shard: compute only the images of this shard. Names of results are those of a run over all images. Other shards
            may be computed at the same time in the same export folder.
        on_progress: called once for each image that was written, failed or skipped; in the writer's thread.

    Raises:
        InvalidInputError: with `resume` and without `overwrite`, images were computed with other settings; the message
            names these. Or the manifest is damaged, or `resume` or `shard` is combined with a shared range of colours.
        DA3Error: with `on_error` "raise", the error of the first image that failed; earlier results are written.
        ExportError: a file cannot be written; later results are not written.
        UnsupportedError: the model does not predict what a format or metric depth needs.
    """
    destination.check(engine.card, options.preprocess, options.network)
    shared = shared_formats(destination.parsed_formats, destination.options)
    check_shared_range(shared, resume=resume, is_split=shard is not None)
    settings: Settings = {
        **network_settings(engine, options.preprocess, options.network),
        **options.output.settings(),
        **destination_settings(destination),
    }
    found = [FoundImage.alone(one) if isinstance(one, Path) else one for one in images]
    manifest, report = _opened(engine, found, destination, shard, warns=not overwrite)
    # Named before any is skipped, so that names depend neither on which images are skipped nor on the shard.
    names = dict(zip((str(one.path) for one in found), result_names(found, manifest.name_of), strict=True))
    paths = [one.path for one in (found if shard is None else shard.select(found))]
    planned = {names[source]: source for source in map(str, paths)}
    thumbnails = index and "depth_vis" not in {one.name for one in destination.parsed_formats}
    held = HeldImages(destination.folder, shared, destination.options, keeps_images=thumbnails)
    writing = _Writing(engine, destination, options, manifest, settings, names, report, on_progress, held, thumbnails)
    if resume:
        age_s = 0.0 if shard is None else MIN_AGE_S
        paths = writing.skip_complete(paths, overwrite=overwrite, min_age_s=age_s)
    raising = options.preprocess.on_error is OnError.RAISE
    writer = BackgroundWriter()
    # Failures pass through the writer's queue: they are reported in order, and only one thread changes the report.
    # `stream` checks its arguments before the block below starts, so misuse writes no report.
    on_failure = raise_failure if raising else lambda one: writer.put(partial(writing.fail, one))
    at_network_size = replace(options, output=OutputOptions())  # the writer's thread enlarges
    predictions = engine.stream(writing.noted(paths), at_network_size, on_failure, ready=len(paths))
    engine.input_processor.warm_up()
    shown = indexed(manifest, report, index and shard is None)
    reporting = reported(report, report_file, planned, early=shard is not None)
    with shown, reporting, held.coloring(), closing(predictions), writer:  # type: ignore[type-var]
        for prediction in predictions:
            writer.put(partial(writing.write, prediction))
    return report


def _opened(
    engine: Engine, images: Sequence[FoundImage], destination: Destination, shard: Shard | None, *, warns: bool
) -> tuple[Manifest, RunReport]:
    """Open the manifest, and begin the report."""
    # Names of images in one folder do not depend on those of other shards, so the many lines of these are not read.
    siblings = len({one.folder for one in images}) > 1
    report = RunReport.of(engine, destination.folder)
    report.shard, report.total = None if shard is None else str(shard), len(images)
    return Manifest(destination.folder, warns=warns, shard=shard, siblings=siblings), report


@dataclass
class _Writing:
    """Writes results, and records them in the manifest and the report."""

    engine: Engine
    destination: Destination
    options: StreamOptions
    manifest: Manifest
    settings: Settings
    names: Mapping[str, str]
    report: RunReport
    on_progress: OnProgress
    held: HeldImages
    thumbnails: bool
    _files: dict[str, SourceFile] = field(default_factory=dict)

    def noted(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Yield paths, and note the size and time of each file before it is read."""
        for path in paths:
            self._files[str(path)] = SourceFile.of(path)
            yield path

    def write(self, prediction: Prediction) -> None:
        """Write the results of an image."""
        source, destination = prediction.sources[0], self.destination
        try:
            origins: tuple[str, ...] = ()
            if destination.metric is not None:
                prediction, origins = destination.metric.apply(prediction)
            prediction = self.options.output.apply(prediction, None, self.options.preprocess)
        except DA3Error as error:  # the focal length is unknown, or the file is gone
            if self.options.preprocess.on_error is OnError.RAISE:
                raise
            self.fail(ImageFailure(self.report.images, source, error))
            return
        self.report.add_focal_lengths(origins)
        exporting = time.perf_counter()
        name = self.names[source]
        formats = [one for one in destination.parsed_formats if one not in self.held.formats]
        outputs = export(prediction, destination.folder, formats, name, destination.options) if formats else []
        facts = depth_facts(prediction)
        if not self.held.formats:
            facts = self._with_thumbnails(prediction, facts, name, destination.options)
        else:
            self.held.add(prediction, name, partial(self._colored, len(self.report.records), source, outputs, facts))
        if outputs:
            self.manifest.add("image", name, self.settings, [self._files[source]], outputs, facts)
        self.report.add_prediction(prediction, time.perf_counter() - exporting, outputs)
        self.on_progress(len(self.report.failures))

    def _with_thumbnails(
        self, prediction: Prediction, facts: tuple[DepthFacts, ...], name: str, options: ExportOptions | None
    ) -> tuple[DepthFacts, ...]:
        if not self.thumbnails:
            return facts
        colors = thumbnail_colors(self.destination.parsed_formats, options)
        return write_thumbnails(prediction, facts, self.destination.folder, name, colors)

    def _colored(
        self, record: int, source: str, outputs: list[Path], facts: tuple[DepthFacts, ...], colored: Colored
    ) -> None:
        """Record the coloured depth of an image that was written already."""
        facts = self._with_thumbnails(colored.prediction, facts, self.names[source], colored.options)
        self.report.records[record].outputs.extend(map(str, colored.files))
        files = [self._files[source]]
        self.manifest.add("image", self.names[source], self.settings, files, [*outputs, *colored.files], facts)

    def fail(self, failure: ImageFailure) -> None:
        """Record an image that failed."""
        self.report.add_failure(failure.label, failure.error)
        self.on_progress(len(self.report.failures))

    def skip_complete(self, paths: Sequence[Path], *, overwrite: bool, min_age_s: float) -> list[Path]:
        """Select the images whose results are not complete, and remove temporary files that are at least so old.

        Raises:
            InvalidInputError: images were computed with other settings, and `overwrite` is False.
        """
        left, other_settings = [], {}
        for path in paths:
            name = self.names[str(path)]
            files = result_files(self.destination.folder, self.destination.formats, name, self.destination.options)
            record = self.manifest.record("image", name)
            if record is None or not SourceFile.of(path).is_same(record.sources[0]):
                left.append(path)
            elif (earlier := self.manifest.settings(record)) != self.settings:
                other_settings[str(path)] = earlier
                left.append(path)
            elif not self.manifest.is_complete(record):
                left.append(path)
            else:
                self.report.add_skipped(str(path), files)
                self.on_progress(len(self.report.failures))
        if other_settings and not overwrite:
            raise differences(self.destination.folder, other_settings, self.settings)
        remove_temporary(self.destination, [self.names[str(one)] for one in paths], min_age_s)
        return left


def remove_temporary(destination: Destination, names: Iterable[str], min_age_s: float = 0.0) -> None:
    """Remove temporary files of a killed run from the folders of results.

    Args:
        destination: export folder and formats.
        names: of the results.
        min_age_s: seconds since the last change; younger files may be those of another run.
    """
    folders = {destination.folder, destination.folder / SHARDS}
    for name in names:
        files = result_files(destination.folder, destination.formats, name, destination.options)
        folders |= {one.parent for one in (*files, destination.folder / THUMBNAILS / name)}
    remove_temporary_files(folders, min_age_s)
