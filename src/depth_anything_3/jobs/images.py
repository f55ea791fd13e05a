"""Compute independent images and write a result for each."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import export, result_files
from depth_anything_3.export.naming import result_names
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.inputs.failure import ImageFailure, raise_failure
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile, differences
from depth_anything_3.jobs.report import RunReport, reported
from depth_anything_3.jobs.settings import destination_settings, network_settings
from depth_anything_3.prediction import Prediction

__all__ = ["run_images"]

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.[a-z0-9]+")  # temporary files of atomic writes


def run_images(
    engine: Engine,
    images: Sequence[FoundImage | Path],
    destination: Destination,
    options: StreamOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report_file: Path | None = None,
    on_progress: Callable[[], None] = lambda: None,
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
            so no other run may be writing to the folder.
        overwrite: with `resume`, compute images anew that were computed with other settings.
        report_file: JSON file for the report, written at the end of the run, also after an error or Ctrl-C.
        on_progress: called once for each image that was written, failed or skipped; in the writer's thread.

    Raises:
        InvalidInputError: with `resume` and without `overwrite`, images were computed with other settings; the message
            names these. Or the manifest is damaged.
        DA3Error: with `on_error` "raise", the error of the first image that failed; earlier results are written.
        ExportError: a file cannot be written; later results are not written.
        UnsupportedError: the model does not predict what a format or metric depth needs.
    """
    destination.check(engine.card, options.preprocess, options.network)
    settings: Settings = {
        **network_settings(engine, options.preprocess, options.network),
        **destination_settings(destination),
    }
    found = [FoundImage.alone(one) if isinstance(one, Path) else one for one in images]
    manifest, report = Manifest(destination.folder), RunReport.of(engine, destination.folder)
    # Named before any is skipped, so that names do not depend on which images are skipped.
    names = dict(zip((str(one.path) for one in found), result_names(found, manifest.name_of), strict=True))
    paths = [one.path for one in found]
    writing = _Writing(engine, destination, options, manifest, settings, names, report, on_progress)
    if resume:
        paths = writing.skip_complete(paths, overwrite=overwrite)
    raising = options.preprocess.on_error is OnError.RAISE
    writer = BackgroundWriter()
    # Failures pass through the writer's queue: they are reported in order, and only one thread changes the report.
    # `stream` checks its arguments before the block below starts, so misuse writes no report.
    on_failure = raise_failure if raising else lambda one: writer.put(partial(writing.fail, one))
    predictions = engine.stream(writing.noted(paths), options, on_failure)
    engine.input_processor.warm_up()
    with reported(report, report_file), closing(predictions), writer:  # type: ignore[type-var]  # a generator
        for prediction in predictions:
            writer.put(partial(writing.write, prediction))
    return report


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
    on_progress: Callable[[], None]
    _files: dict[str, SourceFile] = field(default_factory=dict)

    def noted(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Yield paths, and note the size and time of each file before it is read."""
        for path in paths:
            self._files[str(path)] = SourceFile.of(path)
            yield path

    def write(self, prediction: Prediction) -> None:
        """Write the results of an image."""
        exporting = time.perf_counter()
        source, destination = prediction.sources[0], self.destination
        if destination.metric is not None:
            try:
                prediction, origins = destination.metric.apply(prediction)
            except InvalidInputError as error:
                if self.options.preprocess.on_error is OnError.RAISE:
                    raise
                self.fail(ImageFailure(self.report.images, source, error))
                return
            self.report.add_focal_lengths(origins)
        name = self.names[source]
        outputs = export(prediction, destination.folder, destination.formats, name, destination.options)
        self.manifest.add("image", name, self.settings, [self._files[source]], outputs)
        self.report.add_prediction(prediction, time.perf_counter() - exporting, outputs)
        self.on_progress()

    def fail(self, failure: ImageFailure) -> None:
        """Record an image that failed."""
        self.report.add_failure(failure.label, failure.error)
        self.on_progress()

    def skip_complete(self, paths: Sequence[Path], *, overwrite: bool) -> list[Path]:
        """Select the images whose results are not complete, and remove temporary files of a killed run.

        Raises:
            InvalidInputError: images were computed with other settings, and `overwrite` is False.
        """
        folders = set()
        left, other_settings = [], {}
        for path in paths:
            name = self.names[str(path)]
            files = result_files(self.destination.folder, self.destination.formats, name, self.destination.options)
            folders |= {file.parent for file in files}
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
                self.on_progress()
        if other_settings and not overwrite:
            raise differences(self.destination.folder, other_settings, self.settings)
        _remove_temporary(self.destination.folder, folders)
        return left


def _remove_temporary(export_dir: Path, folders: set[Path]) -> None:
    """Remove temporary files of a killed run from the folders of results."""
    for folder in sorted({export_dir, *folders}):
        # The folder may not exist yet; a temporary file that cannot be removed does no harm.
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name):
                    os.unlink(entry)
