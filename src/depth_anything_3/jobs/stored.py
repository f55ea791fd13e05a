"""Compute stored images: from object stores, archives, tables or lists to files, tars, parquet or an object store."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from depth_anything_3.errors import DA3Error, ExportError, InvalidInputError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.failure import ImageFailure, raise_failure
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress, reported
from depth_anything_3.jobs.settings import destination_settings, network_settings
from depth_anything_3.jobs.shards import Shard, report_name
from depth_anything_3.jobs.shared_range import shared_formats
from depth_anything_3.jobs.sinks.open import open_sink
from depth_anything_3.jobs.sinks.place import LocalPlace, Place
from depth_anything_3.jobs.sinks.sink import Pack, Sink, SinkOptions
from depth_anything_3.jobs.sources.read_ahead import read_ahead
from depth_anything_3.jobs.sources.selection import Selection
from depth_anything_3.jobs.sources.stored_image import StoredImage
from depth_anything_3.prediction import Prediction

__all__ = ["run_stored"]

logger = logging.getLogger(__name__)


def run_stored(
    engine: Engine,
    images: Iterable[StoredImage],
    place: Place,
    destination: Destination,
    options: StreamOptions,
    sink_options: SinkOptions,
    *,
    selection: Selection | None = None,
    on_progress: OnProgress = no_progress,
) -> RunReport:
    """Compute depth of stored images, with what is read ahead in bounded memory, and write results in order.

    A report is written to the place at the end of the run, also after an error or Ctrl-C; that of a shard also at its
    beginning.

    Args:
        engine: the network.
        images: the images; see `find_stored`. An image whose id another one had before fails.
        place: where results are written; see `place_of`.
        destination: formats and metric depth; its folder is not used.
        options: preprocessing, network and batching.
        sink_options: packing, and what becomes of earlier results.
        selection: what the images were listed with; for the report. Its shard is that of `sink_options`.
        on_progress: called once for each image that was written, failed or skipped.

    Raises:
        InvalidInputError: earlier results have other settings, see `open_sink`; or a source has no such column.
        DA3Error: with `on_error` "raise", the error of the first image that failed; earlier results are written.
        ExportError: a result cannot be written; later results are not written.
        UnsupportedError: the model does not predict what a format or metric depth needs; or a package is missing.
    """
    destination.check(engine.card, options.preprocess, options.network)
    if shared_formats(destination.parsed_formats, destination.options):
        raise InvalidInputError("shared_range=True needs all images at once; set the range with depth_range")
    engine.check_output(options.output)
    engine.check(options.network)
    settings = {
        **network_settings(engine, options.preprocess, options.network),
        **options.output.settings(),
        **destination_settings(destination),
    }
    report = RunReport.of(engine, place.name)
    report.is_streamed, report.shard = True, None if sink_options.shard is None else str(sink_options.shard)
    formats, export_options = destination.parsed_formats, destination.options
    with (
        _report_file(place, report, sink_options.shard),
        open_sink(place, formats, export_options, settings, sink_options) as sink,
        BackgroundWriter() as writer,
    ):
        keeps_records = sink_options.pack is Pack.FILES and isinstance(place, LocalPlace)
        run = _Run(sink, writer, destination, options, report, on_progress, keeps_records, selection)
        at_network_size = replace(options, output=OutputOptions())  # the writer's thread enlarges
        with closing(run.read(images)) as given:
            predictions = engine.stream(given, at_network_size, run.fail)  # type: ignore[arg-type]  # it takes sources
            engine.input_processor.warm_up()
            with closing(predictions):  # type: ignore[type-var]  # a generator
                for prediction in predictions:
                    writer.put(partial(run.write, run.next(), prediction))
    return report


@contextmanager
def _report_file(place: Place, report: RunReport, shard: Shard | None) -> Iterator[None]:
    name = report_name(shard)
    if isinstance(place, LocalPlace):
        with reported(report, place.folder / name, early=shard is not None):
            yield
        return
    try:
        with reported(report, None):
            if shard is not None:  # it is known then that a shard was killed
                _upload(report, place, name)
            yield
    finally:
        try:
            _upload(report, place, name)
        except ExportError as error:
            if report.stopped_by is None:
                raise
            logger.warning("no report was written: %s", error)  # the error that stopped the run is raised


def _upload(report: RunReport, place: Place, name: str) -> None:
    with place.writing(name) as file:
        report.write(file)


@dataclass
class _Run:
    """Reads images, and writes results in the writer's thread.

    Attributes:
        sink, writer, destination, options, report, on_progress: of the run.
        keeps_records: whether the report has a record for each image; a million of these fill the memory.
        selection: what the images were listed with.
    """

    sink: Sink
    writer: BackgroundWriter
    destination: Destination
    options: StreamOptions
    report: RunReport
    on_progress: OnProgress
    keeps_records: bool
    selection: Selection | None
    _waiting: deque[tuple[str, ImageSource]] = field(default_factory=deque)  # images of the stream, in order
    _ids: set[str] = field(default_factory=set)

    def read(self, images: Iterable[StoredImage]) -> Generator[ImageSource, None, None]:
        """Yield the images that are not done, read ahead. Runs in a thread of the engine."""
        with closing(read_ahead(self._not_done(images))) as ahead:
            for one in ahead:
                assert not callable(one.data)  # it is read
                source = ImageSource(one.label, one.data)
                self._waiting.append((one.id, source))
                yield source
        if self.selection is not None:  # all have been listed
            self.report.total = self.selection.total

    def next(self) -> tuple[str, ImageSource]:
        """Return the id and the image whose result comes next."""
        return self._waiting.popleft()

    def fail(self, failure: ImageFailure) -> None:
        """Record an image that failed, at its place in the order."""
        id, _ = self.next()
        if self.options.preprocess.on_error is OnError.RAISE:
            raise_failure(failure)
        self.writer.put(partial(self._fail, id, failure))

    def write(self, image: tuple[str, ImageSource], prediction: Prediction) -> None:
        """Write the result of an image. Runs in the writer's thread."""
        id, source = image
        try:
            origins: tuple[str, ...] = ()
            if self.destination.metric is not None:
                prediction, origins = self.destination.metric.apply(prediction)
            prediction = self.options.output.apply(prediction, [source], self.options.preprocess)
        except DA3Error as error:  # the focal length is unknown
            if self.options.preprocess.on_error is OnError.RAISE:
                raise
            self._fail(id, ImageFailure(self.report.images, source.label, error))
            return
        self.report.add_focal_lengths(origins)
        began = time.perf_counter()
        outputs = [Path(one) for one in self.sink.write(id, source.label, prediction)]
        seconds = time.perf_counter() - began
        self.report.add_prediction(prediction, seconds, outputs, keep_records=self.keeps_records)
        self.on_progress(len(self.report.failures))

    def _fail(self, id: str, failure: ImageFailure) -> None:
        self.sink.fail(id, failure.error)
        self.report.add_failure(failure.label, failure.error, id=id)
        self.on_progress(len(self.report.failures))

    def _skip(self, label: str) -> None:
        if self.keeps_records:
            self.report.add_skipped(label, [])
        else:
            self.report.skipped += 1
        self.on_progress(len(self.report.failures))

    def _not_done(self, images: Iterable[StoredImage]) -> Iterator[StoredImage]:
        for image in images:
            if image.id in self._ids:
                error = InvalidInputError(
                    f"{image.label}: has the id {image.id!r} of an earlier image; ids name the results. Give another "
                    "id_column, or run the sources one by one into folders of their own"
                )
                yield replace(image, id=f"{image.id}~{len(self._ids)}~{image.label}", data=error)
                continue
            self._ids.add(image.id)
            if self.sink.is_done(image.id, image.label):
                self.writer.put(partial(self._skip, image.label))
            else:
                yield image
