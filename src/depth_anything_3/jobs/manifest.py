"""Record which results an export folder holds, what they were computed from, and with which settings.

A run writes two files. `manifest.json` lists the settings of each run and the entries of the folder that hold results;
it is replaced atomically. `manifest.jsonl` has one line per image, scene or video, appended when its results are
complete; later lines replace earlier ones of the same name, and a line cut off by a power failure is ignored.
Each shard writes two files of its own, in the folder `shards`; of records in several files the latest counts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.inputs.earlier_results import MANIFEST, SHARDS
from depth_anything_3.jobs.depth_facts import DepthFacts
from depth_anything_3.jobs.shards import Shard, report_path
from depth_anything_3.runtime.atomic_file import atomic_write
from depth_anything_3.runtime.utc_time import utc_now
from depth_anything_3.runtime.version import __version__

__all__ = ["RECORDS", "Manifest", "Record", "Settings", "SourceFile", "differences"]

logger = logging.getLogger(__name__)

RECORDS = "manifest.jsonl"
"""Name of the file with one line per result."""

Settings = Mapping[str, str | int | float | bool | None]
"""What results depend on besides their source, as plain values."""

_LAYOUT = 1  # version of the two files


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The identity of a source file.

    Attributes:
        path: absolute.
        bytes: its size; None if it is not a file.
        modified: time of the last change in UTC, to the nanosecond; empty if it is not a file.
    """

    path: str
    bytes: int | None = None
    modified: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> SourceFile:
        """Read the identity of a file now. Missing files have no size."""
        text = os.fsdecode(path)
        try:
            status = os.stat(text)
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return cls(os.path.abspath(text))
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        date = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        return cls(os.path.abspath(text), status.st_size, f"{date}.{nanoseconds:09d}Z")

    def is_same(self, other: SourceFile) -> bool:
        """Whether both are one unchanged file, which may have been moved."""
        return self == other or (
            self.bytes is not None and (self.bytes, self.modified) == (other.bytes, other.modified)
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What one result was computed from.

    Attributes:
        kind: "image", "scene", "video", or "other" for files that were not computed from a source.
        name: of the result; "" for the scene of the folder.
        run: index of the settings in `manifest.json`; -1 for other files.
        sources: the files that were read, in order.
        outputs: the files that were written, relative to the export folder.
        facts: of each depth map, in the order of the sources; empty if unknown.
        written: time at which it was recorded, in UTC; empty if unknown.
    """

    kind: str
    name: str
    run: int
    sources: tuple[SourceFile, ...]
    outputs: tuple[str, ...]
    facts: tuple[DepthFacts, ...] = ()
    written: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The outputs and the thumbnails."""
        return (*self.outputs, *(one.thumbnail for one in self.facts if one.thumbnail))


class Manifest:
    """The manifest of an export folder. Not thread-safe.

    Args:
        folder: export folder; it may be missing or have no manifest.
        warns: whether a warning names the first result of another source that is replaced.
        shard: write the manifest of this shard; None: that of runs that are not split.
        others: also read what runs with other numbers of shards recorded, and runs that were not split.
        siblings: also read what the other shards of the same run recorded, which have none of this shard's images.

    Raises:
        InvalidInputError: the manifest cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        warns: bool = True,
        shard: Shard | None = None,
        others: bool = True,
        siblings: bool = True,
    ) -> None:
        self.folder = folder
        at = folder if shard is None else folder / SHARDS
        self._manifest_path = at / (MANIFEST if shard is None else f"manifest-{shard.name}.json")
        self._records_path = at / (RECORDS if shard is None else f"manifest-{shard.name}.jsonl")
        self._runs: list[dict[str, Any]] = []  # Any: plain JSON values
        self._results: list[str] = []
        self._records: dict[str, dict[str, Record]] = {}  # by kind and name
        self._names: dict[str, str] = {}
        self._is_cut = False  # whether the last line of the records is incomplete
        self._has_warned = not warns  # of replaced results
        self._read()
        shards = [None, *Shard.recorded_in(folder)] if others else []
        same_run = [one for one in shards if shard and one and one.count == shard.count and not siblings]
        self._others = [
            Manifest(folder, shard=one, others=False) for one in shards if one != shard and one not in same_run
        ]

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the entries of the folder that hold results."""
        return tuple(sorted({*self._results, *(name for one in self._others for name in one._results)}))

    @property
    def records(self) -> tuple[Record, ...]:
        """All results, by kind."""
        names = {(kind, name): None for one in self._all for kind, kept in one._records.items() for name in kept}
        return tuple(record for kind, name in names if (record := self.record(kind, name)) is not None)

    @property
    def _all(self) -> tuple[Manifest, ...]:
        return (self, *self._others)

    def record(self, kind: str, name: str = "") -> Record | None:
        """Return the record of a result, if there is one; see `Record`."""
        found = (one._records.get(kind, {}).get(name) for one in self._all)
        return max((one for one in found if one is not None), key=lambda one: one.written, default=None)

    def name_of(self, path: Path) -> str | None:
        """Return the name of the results of an image, if there are any."""
        absolute = os.path.abspath(path)
        return next((one._names[absolute] for one in self._all if absolute in one._names), None)

    def settings(self, record: Record) -> Settings:
        """Return the settings that a result was computed with."""
        owner = next(one for one in self._all if one._records.get(record.kind, {}).get(record.name) is record)
        settings: Settings = owner._runs[record.run]["settings"]
        return settings

    def is_complete(self, record: Record) -> bool:
        """Whether the files of a result exist."""
        try:
            # A power failure can leave an empty file whose content had not reached the disk.
            return all(os.stat(self.folder / one).st_size > 0 for one in record.outputs)
        except OSError:
            return False

    def add(
        self,
        kind: str,
        name: str,
        settings: Settings,
        sources: Sequence[SourceFile],
        outputs: Iterable[Path],
        facts: Sequence[DepthFacts] = (),
    ) -> None:
        """Record a complete result, and remove files of an earlier result of that name that are out of date.

        Args:
            kind, name: see `Record`.
            settings: settings of the run.
            sources: identity of the source files, from before they were read.
            outputs: all files of the result, inside the export folder.
            facts: see `Record`; empty: those of the earlier result stay, if it is of the same unchanged sources.

        Raises:
            ExportError: the manifest cannot be written.
        """
        files = self._relative(outputs)
        thumbnails = (one.thumbnail for one in facts if one.thumbnail)
        run = self._begin(settings, (*files, *thumbnails))
        kept = tuple(facts) or self._kept_facts(kind, name, sources)
        record = Record(kind, name, run, tuple(sources), files, kept, utc_now())
        self._remove_outdated(record)
        self._append(record)

    def add_results(self, outputs: Sequence[Path]) -> None:
        """Record files that were not computed from a source, such as converted ones.

        Raises:
            ExportError: the manifest cannot be written.
        """
        files = self._relative(outputs)
        if files:
            self._write_if_new(files)
            self._append(Record("other", files[0], -1, (), files))

    def remove_results(self) -> None:
        """Remove all files that are recorded, folders that this leaves empty, and the manifests; forget the records."""
        files = [self.folder / name for one in self._all for record in one._every() for name in record.files]
        files += [path for one in self._all for path in (one._manifest_path, one._records_path)]
        files += [report_path(self.folder, one) for one in Shard.recorded_in(self.folder)]
        for file in files:
            file.unlink(missing_ok=True)
        folders = {parent for file in files for parent in file.parents if self.folder in parent.parents}
        for folder in sorted(folders, key=lambda one: -len(one.parts)):
            with suppress(OSError):  # it has other files
                folder.rmdir()
        for kept in (self._runs, self._results, self._records, self._names, self._others):
            kept.clear()

    def _every(self) -> Iterator[Record]:
        """Yield the records of this file."""
        return (one for kept in self._records.values() for one in kept.values())

    def _append(self, record: Record) -> None:
        path = self._records_path
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" * self._is_cut + json.dumps(asdict(record)) + "\n")
        except OSError as error:
            raise ExportError(f"{path}: cannot be written ({error.strerror})") from error
        self._is_cut = False
        self._keep(record)

    def _begin(self, settings: Settings, files: Iterable[str]) -> int:
        """Return the index of the settings in the manifest."""
        known = [one["settings"] for one in self._runs]
        is_new = dict(settings) not in known
        if is_new:
            self._runs.append({"settings": dict(settings), "version": __version__})
        self._write_if_new(files, has_new_run=is_new)
        return len(known) if is_new else known.index(dict(settings))

    def _write_if_new(self, files: Iterable[str], *, has_new_run: bool = False) -> None:
        """Write `manifest.json` if it is missing, or its settings or results are new."""
        path, entries = self._manifest_path, sorted({*self._results, *(one.partition("/")[0] for one in files)})
        if entries == self._results and not has_new_run and path.exists():
            return
        content = {"layout": _LAYOUT, "results": entries, "runs": self._runs, "records": self._records_path.name}
        with atomic_write(path) as temporary:
            if not self._results:  # a new manifest: records of a deleted one refer to other settings
                self._records_path.unlink(missing_ok=True)
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        self._results = entries

    def _relative(self, outputs: Iterable[Path]) -> tuple[str, ...]:
        return tuple(one.relative_to(self.folder).as_posix() for one in outputs)

    def _remove_outdated(self, record: Record) -> None:
        """Remove files of the earlier result of a name that the new one did not replace.

        These are all of a scene, and of a source that changed. Of an unchanged source, results in other formats stay.
        """
        earlier = self.record(record.kind, record.name)
        if earlier is None:
            return
        is_scene = record.kind == "scene"
        unchanged = not is_scene and all(map(SourceFile.is_same, record.sources, earlier.sources))
        folders = {os.path.dirname(one) for one in record.outputs} - {""}
        outdated = set(earlier.files) - set(record.files)
        if outdated:  # not what a result of another kind has
            outdated.difference_update(*(one.files for one in self.records if one.kind != record.kind))
        for file in outdated:
            if not unchanged or os.path.dirname(file) in folders or file not in earlier.outputs:
                with suppress(OSError):
                    (self.folder / file).unlink()
        if not (is_scene or unchanged or self._has_warned) and earlier.sources[0].path != record.sources[0].path:
            self._has_warned = True
            logger.warning(
                "%s: replaced the results of %s, which has the same name (further ones are not listed); use one export "
                "folder for each source folder",
                record.sources[0].path,
                earlier.sources[0].path,
            )

    def _kept_facts(self, kind: str, name: str, sources: Sequence[SourceFile]) -> tuple[DepthFacts, ...]:
        earlier = self.record(kind, name)
        return earlier.facts if earlier is not None and earlier.sources == tuple(sources) else ()

    def _keep(self, record: Record) -> None:
        self._records.setdefault(record.kind, {})[record.name] = record
        if record.kind == "image":
            self._names[record.sources[0].path] = record.name

    def _read(self) -> None:
        path = self._manifest_path
        try:
            lines = (
                self._read_lines()
            )  # first: a shard that runs now writes settings before the lines that refer to them
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return  # writing reports what is wrong
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"{path}: cannot be read ({error}); delete it to compute everything anew"
            ) from error
        try:
            self._results, self._runs = list(content["results"]), list(content["runs"])
            if content["layout"] != _LAYOUT:
                raise ValueError(f"layout {content['layout']}")
            self._is_cut = bool(lines.pop())
            for line in lines:
                with suppress(json.JSONDecodeError):  # a line that was cut off
                    self._keep(self._parsed(json.loads(line)))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{path}: is damaged, or of another version ({error}); delete it to compute everything anew"
            ) from error

    def _read_lines(self) -> list[str]:
        """Read the lines of the records; the last one is empty, unless it was cut off."""
        try:
            return self._records_path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return [""]  # there are results that were not computed from a source only

    def _parsed(self, values: Mapping[str, Any]) -> Record:
        record = Record(
            str(values["kind"]),
            str(values["name"]),
            int(values["run"]),
            tuple(SourceFile(**one) for one in values["sources"]),
            tuple(map(str, values["outputs"])),
            tuple(map(DepthFacts.parse, values.get("facts", ()))),
            str(values.get("written", "")),
        )
        if record.kind != "other":
            self._runs[record.run]["settings"].keys()
        if any(os.path.isabs(one) or ".." in one.split("/") for one in record.files):
            raise ValueError("a result outside the folder")  # results are removed
        return record


def differences(folder: Path, recorded: Mapping[str, Settings], settings: Settings) -> InvalidInputError:
    """Make the error of a run that resumes with other settings.

    Args:
        folder: export folder.
        recorded: settings of earlier results that differ, by source.
        settings: settings of the run.
    """
    name, earlier = next(iter(recorded.items()))
    keys = [one for one in {**earlier, **settings} if earlier.get(one) != settings.get(one)]
    listed = "; ".join(f"{one}={earlier.get(one)}, now {settings.get(one)}" for one in keys)
    more = f" and {len(recorded) - 1} more" if len(recorded) > 1 else ""
    return InvalidInputError(
        f"{folder}: the results of {name}{more} were computed with other settings ({listed}); resume with the same "
        "settings, choose another folder, or pass overwrite=True to compute them anew"
    )
