"""Write results to webdataset tars or parquet files, some hundreds to a file."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import ExportOptions
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.inputs.earlier_results import SHARDS
from depth_anything_3.jobs.manifest import Settings
from depth_anything_3.jobs.result_row import ResultRow, RowEncoder
from depth_anything_3.jobs.sinks.part_ids import ids_file, ids_of_part, part_names
from depth_anything_3.jobs.sinks.parts import ParquetPart, PartFile, TarPart
from depth_anything_3.jobs.sinks.place import LocalPlace, Place
from depth_anything_3.jobs.sinks.settings_file import SETTINGS_FILE, same_settings, write_settings
from depth_anything_3.jobs.sinks.sink import Pack, Sink, SinkOptions, other_shards
from depth_anything_3.jobs.sources.parquet import import_pyarrow
from depth_anything_3.jobs.temporary_files import remove_temporary_files
from depth_anything_3.prediction import Prediction

__all__ = ["PackedSink"]

_SUFFIX = {Pack.WEBDATASET: "tar", Pack.PARQUET: "parquet"}


@dataclass
class _OpenPart:
    """A part that is being written; it appears under its name when the stack is closed."""

    name: str
    file: PartFile
    stack: ExitStack
    ids: list[str] = field(default_factory=list)


class PackedSink(Sink):
    """Writes parts of up to `part_size` results. Arguments and errors as in `open_sink`.

    A part is `webdataset/depth-NUMBER-TOKEN.tar` or `parquet/depth-NUMBER-TOKEN.parquet`. Beside it, and written before
    it, is a list of its ids; readers of parquet folders ignore names that begin with "_". The token differs between
    runs, so that several may write to one place. Images that failed are in parts of their own, `errors-...`: a resumed
    run tries them again, and removes these parts when it has seen all their images. So each id stands in one part.
    Shards of another count share such a part: the last one that ends removes it.
    """

    def __init__(
        self,
        place: Place,
        formats: tuple[ExportFormat, ...],
        export_options: ExportOptions | None,
        settings: Settings,
        options: SinkOptions,
    ) -> None:
        if options.pack is Pack.PARQUET:
            import_pyarrow()
        self.place, self._formats, self._options = place, formats, options
        self._model = str(settings.get("model", ""))
        self._encoder = RowEncoder(formats, export_options)
        self._token = uuid.uuid4().hex[:8]
        self._open: dict[str, _OpenPart] = {}  # by kind
        self._done: set[str] = set()
        self._earlier_errors: list[str] = []  # parts
        self._seen: set[str] = set()
        if options.resume and isinstance(place, LocalPlace):
            folders = {place.folder, place.folder / SHARDS, place.folder / options.pack.value}
            remove_temporary_files(folders, options.min_age_s)
        self._count = self._read_parts(settings)
        write_settings(place, settings)

    def is_done(self, id: str, label: str) -> bool:
        """See `Sink`."""
        return id in self._done

    def write(self, id: str, label: str, prediction: Prediction) -> list[str]:
        """See `Sink`."""
        self._add("depth", self._encoder.encode(id, prediction))
        return []

    def fail(self, id: str, error: Exception) -> None:
        """See `Sink`."""
        self._add("errors", ResultRow.failed(id, error, self._model))

    def close(self, *, aborted: bool) -> None:
        """See `Sink`."""
        try:
            for kind in tuple(self._open):
                if aborted:
                    self._discard(self._open.pop(kind))
                else:
                    self._finish(self._open.pop(kind))
            if not aborted:
                self._remove_earlier_errors()
        finally:
            self._encoder.close()

    def _read_parts(self, settings: Settings) -> int:
        """Read which ids are done; return the number of parts."""
        names = self.place.names()
        parts = sorted(part_names(self.place, names))
        options = self._options
        if not parts:
            if options.shard is not None:  # others may be running
                same_settings(self.place, settings, overwrite=options.overwrite)
            return 0
        if options.shard is not None and options.overwrite:
            raise other_shards(self.place)
        if not (options.resume or options.overwrite) and any(map(self._own_ids, parts)):
            raise InvalidInputError(
                f"{self.place.name}: has results already ({parts[0]}); pass resume=True to continue, overwrite=True to "
                "replace them, or choose another folder"
            )
        same = same_settings(self.place, settings, overwrite=options.overwrite)
        if options.overwrite and not (options.resume and same):
            for one in names.intersection([*parts, *map(ids_file, parts)]):
                self.place.remove(one)
            return 0
        if SETTINGS_FILE not in names:
            raise InvalidInputError(
                f"{self.place.name}: has results and no {SETTINGS_FILE}, so it is not known how they were computed; "
                "choose another folder, or pass overwrite=True"
            )
        for one in parts:
            ids = self._own_ids(one)
            if "/errors-" not in one:
                self._done |= ids
            elif ids:
                self._earlier_errors.append(one)
        return len(parts)

    def _own_ids(self, part: str) -> set[str]:
        """Return the ids of a part that belong to this run's shard."""
        ids, shard = ids_of_part(self.place, part), self._options.shard
        return ids if shard is None else set(filter(shard.contains, ids))

    def _add(self, kind: str, row: ResultRow) -> None:
        part = self._open.get(kind) or self._begin(kind)
        part.file.add(row)
        part.ids.append(row.id)
        self._seen.add(row.id)
        if len(part.ids) >= self._options.part_size:
            self._finish(self._open.pop(kind))

    def _begin(self, kind: str) -> _OpenPart:
        pack = self._options.pack
        name = f"{pack.value}/{kind}-{self._count:05d}-{self._token}.{_SUFFIX[pack]}"
        self._count += 1
        stack = ExitStack()
        path = stack.enter_context(self.place.writing(name))
        make = TarPart if pack is Pack.WEBDATASET else ParquetPart
        part = self._open[kind] = _OpenPart(name, make(path, self._formats), stack)
        return part

    def _finish(self, part: _OpenPart) -> None:
        try:
            part.file.close()
            with self.place.writing(ids_file(part.name)) as file:
                file.write_text(json.dumps(part.ids))
        except BaseException:
            self._discard(part)
            raise
        part.stack.close()

    def _discard(self, part: _OpenPart) -> None:
        """Drop a part that cannot be completed, with its temporary file."""
        with suppress(ExportError):
            part.file.close()
        try:
            raise _Dropped
        except _Dropped as error:
            part.stack.__exit__(type(error), error, error.__traceback__)

    def _remove_earlier_errors(self) -> None:
        left = {one: ids_of_part(self.place, one) - self._seen - self._done for one in self._earlier_errors}
        if any(left.values()):  # images of other shards, which may have tried them again; the last shard finds all
            for part in part_names(self.place) - left.keys():
                ids = ids_of_part(self.place, part)
                left = {one: others - ids for one, others in left.items()}
        for part in (one for one, others in left.items() if not others):
            self.place.remove(part)
            self.place.remove(ids_file(part))


class _Dropped(Exception):
    """A part is dropped: its temporary file must not get its name."""
