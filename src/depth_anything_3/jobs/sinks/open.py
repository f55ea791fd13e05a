"""Open the sink that options ask for."""

from __future__ import annotations

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import ExportOptions
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.jobs.manifest import Settings
from depth_anything_3.jobs.sinks.files import FolderSink, UploadSink
from depth_anything_3.jobs.sinks.packed import PackedSink
from depth_anything_3.jobs.sinks.place import LocalPlace, Place
from depth_anything_3.jobs.sinks.sink import Pack, Sink, SinkOptions

__all__ = ["open_sink"]


def open_sink(
    place: Place,
    formats: tuple[ExportFormat, ...],
    export_options: ExportOptions | None,
    settings: Settings,
    options: SinkOptions,
) -> Sink:
    """Open the sink that the options ask for.

    Args:
        place: where results are written.
        formats, export_options: of the results.
        settings: what results depend on.
        options: of the sink.

    Raises:
        InvalidInputError: the place has results of other settings, or with packing any results and neither `resume` nor
            `overwrite` is given; or a format has several files an image and results are packed.
        UnsupportedError: a package is missing.
    """
    if options.pack is not Pack.FILES:
        return PackedSink(place, formats, export_options, settings, options)
    if any(one.file_names is not None for one in formats) and not isinstance(place, LocalPlace):
        raise InvalidInputError("colmap writes several files an image, which belong in a folder on disk")
    if isinstance(place, LocalPlace):
        return FolderSink(place, formats, export_options, settings, options)
    return UploadSink(place, formats, export_options, settings, options)
