"""Compute independent images and write a result for each."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import export, result_files
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.failure import ImageFailure, raise_failure
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.naming import export_names
from depth_anything_3.jobs.report import RunReport, reported
from depth_anything_3.prediction import Prediction

__all__ = ["run_images"]

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.[a-z0-9]+")  # temporary files of atomic writes


def run_images(
    engine: Engine,
    paths: Sequence[Path],
    destination: Destination,
    options: StreamOptions,
    *,
    resume: bool = False,
    report_file: Path | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> RunReport:
    """Compute depth of independent images, and write results in order while the network computes the next.

    On Ctrl-C, results that have been computed are written first.

    Args:
        engine: the network.
        paths: images, in order.
        destination: output folder and formats.
        options: preprocessing, network and batching.
        resume: continue a run that was stopped or killed; give the same arguments. Images whose results all exist are
            skipped, whatever options they were computed with. Temporary files of a killed run are removed, so no other
            run may be writing to the folder.
        report_file: JSON file for the report, written at the end of the run, also after an error or Ctrl-C.
        on_progress: called once for each image that was written, failed or skipped; in the writer's thread.

    Raises:
        DA3Error: with `on_error` "raise", the error of the first image that failed; earlier results are written.
        ExportError: a file cannot be written; later results are not written.
        UnsupportedError: the model does not predict what a format or metric depth needs.
    """
    destination.check(engine.card, options.preprocess, options.network)
    report, writer = RunReport.of(engine, destination.folder), BackgroundWriter()
    # Named before any is skipped, so that names do not depend on which images are skipped.
    names = dict(zip(map(str, paths), export_names(paths), strict=True))
    if resume:
        paths = _unfinished(paths, names, destination)
    for _ in range(len(names) - len(paths)):
        report.skipped += 1
        on_progress()
    raising = options.preprocess.on_error is OnError.RAISE

    def fail(failure: ImageFailure) -> None:
        report.add_failure(failure)
        on_progress()

    def write(prediction: Prediction) -> None:
        exporting = time.perf_counter()
        source = prediction.sources[0]
        if destination.metric is not None:
            try:
                prediction, origins = destination.metric.apply(prediction)
            except InvalidInputError as error:
                if raising:
                    raise
                fail(ImageFailure(report.images, source, error))
                return
            report.add_focal_lengths(origins)
        export(prediction, destination.folder, destination.formats, names[source], destination.options)
        report.add_prediction(prediction, time.perf_counter() - exporting)
        on_progress()

    # Failures pass through the writer's queue: they are reported in order, and only one thread changes the report.
    # `stream` checks its arguments before the block below starts, so misuse writes no report.
    on_failure = raise_failure if raising else lambda one: writer.put(partial(fail, one))
    predictions = engine.stream(paths, options, on_failure)
    engine.input_processor.warm_up()
    with reported(report, report_file), writer:
        for prediction in predictions:
            writer.put(partial(write, prediction))
    return report


def _unfinished(paths: Sequence[Path], names: dict[str, str], destination: Destination) -> list[Path]:
    """Select the images whose results do not all exist, and remove temporary files of a killed run."""

    def files(name: str) -> list[Path]:
        return result_files(destination.folder, destination.formats, name, destination.options)

    _remove_temporary(destination.folder, files("any"))
    return [path for path in paths if not _is_done(files(names[str(path)]))]


def _is_done(files: Sequence[Path]) -> bool:
    """Whether an image's results all exist. Writes are atomic, so a file that exists is complete."""
    try:
        # A power cut can leave an empty file whose content had not reached the disk.
        return all(os.stat(file).st_size > 0 for file in files)
    except OSError:
        return False


def _remove_temporary(export_dir: Path, files: Sequence[Path]) -> None:
    """Remove temporary files of a killed run from the folders that hold results such as `files`."""
    folders = {file.parent for file in files}
    folders |= {one for folder in folders if folder.parent != export_dir for one in folder.parent.glob("*/")}
    for folder in (export_dir, *sorted(folders)):
        # The folder may not exist yet; a temporary file that cannot be removed does no harm.
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name):
                    os.unlink(entry)
