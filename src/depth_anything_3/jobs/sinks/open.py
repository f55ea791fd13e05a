"""Open the sink that options ask for."""

from __future__ import annotations

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import ExportOptions
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.manifest import Settings
from depth_anything_3.jobs.sinks.files import FileSink, FolderSink, UploadSink
from depth_anything_3.jobs.sinks.packed import PackedSink, PartSink
from depth_anything_3.jobs.sinks.place import LocalPlace, Place
from depth_anything_3.jobs.sinks.sink import Pack, Sink, SinkOptions

__all__ = ["open_block_sink", "open_sink"]


def open_sink(
    place: Place,
    formats: tuple[ExportFormat, ...],
    export_options: ExportOptions | None,
    settings: Settings,
    options: SinkOptions,
    *,
    has_manifest: bool = True,
) -> Sink:
    """Open the sink that the options ask for.

    Args:
        place: where results are written.
        formats, export_options: of the results.
        settings: what results depend on.
        options: of the sink.
        has_manifest: whether files in a folder are recorded in its manifest, which one process writes.

    Raises:
        InvalidInputError: the place has results of other settings, or with packing any results and neither `resume` nor
            `overwrite` is given; or a format has several files an image and results are packed.
        UnsupportedError: a package is missing.
    """
    if options.pack is not Pack.FILES:
        return PackedSink(place, formats, export_options, settings, options)
    in_folder = isinstance(place, LocalPlace) and has_manifest
    if any(one.file_names is not None for one in formats) and not in_folder:
        raise InvalidInputError(
            "colmap writes several files an image, which belong in a folder on disk, and one process writes"
        )
    if isinstance(place, LocalPlace) and has_manifest:
        return FolderSink(place, formats, export_options, settings, options)
    return UploadSink(place, formats, export_options, settings, options)


def open_block_sink(
    place: Place,
    destination: Destination,
    model: str,
    options: SinkOptions,
    *,
    token: str,
    number: int,
    complete: frozenset[str],
) -> Sink:
    """Open the sink for some images of a run whose own sink another process has opened; nothing there is looked at.

    Args:
        place: where results are written.
        destination: the formats and their options.
        model: name of the model.
        options: of the sink of the run.
        token, number: of the parts; see `PartSink`.
        complete: that of the sink of the run.
    """
    formats, export_options = destination.parsed_formats, destination.options
    if options.pack is Pack.FILES:
        return FileSink(place, formats, export_options, complete)
    return PartSink(place, formats, export_options, model, options, token=token, number=number, done=complete)
