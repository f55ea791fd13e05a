"""Write rows of results to one webdataset tar or one parquet file."""

from __future__ import annotations

import io
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depth_anything_3.errors import ExportError
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.jobs.result_row import ResultRow, column_of
from depth_anything_3.jobs.sinks.names import tar_key
from depth_anything_3.jobs.sources.parquet import import_pyarrow

__all__ = ["ParquetPart", "PartFile", "TarPart"]

_ROW_GROUP = 64  # rows; 13 MB of depth at 504 pixels


class PartFile(ABC):
    """A file that takes rows one after another.

    Args:
        path: of the file.
        formats: the formats of the rows.
    """

    def __init__(self, path: Path, formats: Sequence[ExportFormat]) -> None:
        self._path = path

    @abstractmethod
    def add(self, row: ResultRow) -> None:
        """Add a row.

        Raises:
            ExportError: it cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Complete the file. Errors as in `add`."""

    def _error(self, error: OSError) -> ExportError:
        return ExportError(f"{self._path.parent}: a part cannot be written ({error.strerror or error})")


class TarPart(PartFile):
    """A webdataset tar: for each row a member a format, such as KEY.depth.png, and KEY.json with id and facts."""

    def __init__(self, path: Path, formats: Sequence[ExportFormat]) -> None:
        super().__init__(path, formats)
        self._suffixes = {column_of(one): one.suffix for one in formats}
        self._keys: set[str] = set()
        try:
            self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise self._error(error) from error

    def add(self, row: ResultRow) -> None:
        """See `PartFile`."""
        key = tar_key(row.id)
        while key in self._keys:  # "a.jpg" and "a_jpg"
            key += "_"
        self._keys.add(key)
        try:
            for column, content in row.files.items():
                self._add(f"{key}.{column}{self._suffixes[column]}", content)
            self._add(f"{key}.json", row.as_json())
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """See `PartFile`."""
        try:
            self._tar.close()
        except OSError as error:
            raise self._error(error) from error

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        self._tar.addfile(member, io.BytesIO(content))


class ParquetPart(PartFile):
    """A parquet file with plain columns: id, the formats, and the facts."""

    def __init__(self, path: Path, formats: Sequence[ExportFormat]) -> None:
        super().__init__(path, formats)
        self._pa = import_pyarrow()
        self._schema = _schema(self._pa, formats)
        self._rows: list[dict[str, Any]] = []
        try:
            # PNG and the like do not get smaller.
            self._writer = self._pa.parquet.ParquetWriter(path, self._schema, compression="none")
        except OSError as error:
            raise self._error(error) from error

    def add(self, row: ResultRow) -> None:
        """See `PartFile`."""
        self._rows.append({"id": row.id, **row.files, **row.facts()})
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """See `PartFile`."""
        self._flush()
        try:
            self._writer.close()
        except OSError as error:
            raise self._error(error) from error

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            try:
                self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self._schema))
            except OSError as error:
                raise self._error(error) from error


def _schema(pa: Any, formats: Sequence[ExportFormat]) -> Any:  # Any: pyarrow is not typed
    return pa.schema(
        [
            ("id", pa.string()),
            *((column_of(one), pa.binary()) for one in formats),
            ("depth_scale", pa.float64()),
            ("unit", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("model", pa.string()),
            ("da3_version", pa.string()),
            ("warnings", pa.list_(pa.string())),
            ("error", pa.string()),
        ]
    )
