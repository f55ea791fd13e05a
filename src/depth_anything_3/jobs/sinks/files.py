"""Write one file a format and image, into a folder or an object store."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import ExportOptions, export, result_files
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.inputs.earlier_results import SHARDS
from depth_anything_3.jobs.depth_facts import depth_facts
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile, differences
from depth_anything_3.jobs.sinks.names import file_name
from depth_anything_3.jobs.sinks.place import LocalPlace, Place
from depth_anything_3.jobs.sinks.settings_file import SETTINGS_FILE, same_settings, write_settings
from depth_anything_3.jobs.sinks.sink import Sink, SinkOptions, other_shards
from depth_anything_3.jobs.temporary_files import remove_temporary_files
from depth_anything_3.prediction import Prediction

__all__ = ["FileSink", "FolderSink", "UploadSink"]


class FolderSink(Sink):
    """Writes files into a folder, with a manifest. Arguments and errors as in `open_sink`."""

    keeps_records = True

    def __init__(
        self,
        place: LocalPlace,
        formats: tuple[ExportFormat, ...],
        export_options: ExportOptions | None,
        settings: Settings,
        options: SinkOptions,
    ) -> None:
        self.place, self._folder = place, place.folder
        self._formats, self._export_options, self._settings, self._options = formats, export_options, settings, options
        # Names do not depend on other shards of the run, so the many lines of these are not read.
        self._manifest = Manifest(place.folder, warns=not options.overwrite, shard=options.shard, siblings=False)
        if options.resume:
            _remove_temporary_files(place.folder, formats, options.min_age_s)

    def is_done(self, id: str, label: str) -> bool:
        """See `Sink`.

        Raises:
            InvalidInputError: the result has other settings, and `overwrite` is False.
        """
        record = self._manifest.record("image", file_name(id)) if self._options.resume else None
        if record is None or record.sources[0].path != label:
            return False
        earlier = self._manifest.settings(record)
        if earlier != dict(self._settings):
            if not self._options.overwrite:
                raise differences(self._folder, {id: earlier}, self._settings)
            return False
        return self._manifest.is_complete(record)

    def write(self, id: str, label: str, prediction: Prediction) -> list[str]:
        """See `Sink`."""
        name = file_name(id)
        outputs = export(prediction, self._folder, self._formats, name, self._export_options)
        self._manifest.add("image", name, self._settings, [SourceFile(label)], outputs, depth_facts(prediction))
        return [str(one) for one in outputs]

    def fail(self, id: str, error: Exception) -> None:
        """See `Sink`: the report has it."""

    def close(self, *, aborted: bool) -> None:
        """See `Sink`."""


class FileSink(Sink):
    """Writes files into a place, and looks at nothing that is there.

    Args:
        place: where they are written.
        formats, export_options: of the results.
        existing: names of files that are there; an image is complete when all of its files are.
    """

    def __init__(
        self,
        place: Place,
        formats: tuple[ExportFormat, ...],
        export_options: ExportOptions | None,
        existing: frozenset[str] = frozenset(),
    ) -> None:
        self.place, self._formats, self._export_options = place, formats, export_options
        self._existing = existing
        self._staging = Path(tempfile.mkdtemp(prefix="da3-"))

    @property
    def complete(self) -> frozenset[str]:
        """See `Sink`."""
        return self._existing

    def is_done(self, id: str, label: str) -> bool:
        """See `Sink`."""
        return bool(self._existing) and self._existing.issuperset(self._files(file_name(id)))

    def write(self, id: str, label: str, prediction: Prediction) -> list[str]:
        """See `Sink`."""
        written = []
        for file in export(prediction, self._staging, self._formats, file_name(id), self._export_options):
            name = file.relative_to(self._staging).as_posix()
            with self.place.writing(name) as temporary:
                shutil.move(file, temporary)
            written.append(f"{self.place.name.rstrip('/')}/{name}")
        return written

    def fail(self, id: str, error: Exception) -> None:
        """See `Sink`: the report has it."""

    def close(self, *, aborted: bool) -> None:
        """See `Sink`."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def _files(self, name: str) -> list[str]:
        files = result_files(self._staging, self._formats, name, self._export_options)
        return [one.relative_to(self._staging).as_posix() for one in files]


class UploadSink(FileSink):
    """Writes files into an object store, or for a cluster into a folder. Arguments and errors as in `open_sink`.

    An image is complete when all its files are there; the settings stand in a file of the place.
    """

    def __init__(
        self,
        place: Place,
        formats: tuple[ExportFormat, ...],
        export_options: ExportOptions | None,
        settings: Settings,
        options: SinkOptions,
    ) -> None:
        if isinstance(place, LocalPlace):
            _refuse_manifest(place.folder)
            if options.resume:
                _remove_temporary_files(place.folder, formats, options.min_age_s)
        names = place.names()
        results = {one for one in names if one.partition("/")[0] in {each.name for each in formats}}
        same = same_settings(place, settings, overwrite=options.overwrite)
        if results and SETTINGS_FILE not in names:
            same = False
            if not options.overwrite:
                raise InvalidInputError(
                    f"{place.name}: has results and no {SETTINGS_FILE}, so it is not known how they were computed; "
                    "choose another prefix, or pass overwrite=True"
                )
        if results and not same and options.shard is not None:
            raise other_shards(place)
        if not same:  # overwrite; before the settings are replaced, by which they would be taken for new ones
            for one in results:
                place.remove(one)
        super().__init__(place, formats, export_options, frozenset(results if options.resume and same else ()))
        write_settings(place, settings)


def _refuse_manifest(folder: Path) -> None:
    """Refuse a folder whose results one process has recorded: their settings may be others than those of the place.

    Raises:
        InvalidInputError: see above.
    """
    if Manifest(folder, warns=False).records:
        raise InvalidInputError(
            f"{folder}: has results of a run in one process, which several processes do not continue; choose another "
            "folder, or continue without cluster and devices"
        )


def _remove_temporary_files(folder: Path, formats: tuple[ExportFormat, ...], min_age_s: float) -> None:
    """Remove those of killed runs from the folders of the formats."""
    below = (Path(one) for each in formats for one, _, _ in os.walk(folder / each.name))
    remove_temporary_files({folder, folder / SHARDS, *below}, min_age_s)
