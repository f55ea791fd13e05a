"""A folder, or a prefix in an object store, that takes whole files."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from depth_anything_3.errors import ExportError, ImageReadError
from depth_anything_3.export.checks import check_export_dir
from depth_anything_3.jobs.sources.address import is_address, normalized, shown
from depth_anything_3.jobs.sources.store import open_store
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["LocalPlace", "Place", "RemotePlace", "place_of"]

_MAX_SMALL_BYTES = 1 << 30


def place_of(export_dir: str) -> Place:
    """Return the place that a path or address names.

    Raises:
        ExportError: the path is a file.
        UnsupportedError: the package that speaks with the store is missing.
    """
    return RemotePlace(export_dir) if is_address(export_dir) else LocalPlace(Path(export_dir))


class Place(ABC):
    """Where results are written. Names are relative, with '/'."""

    name: str
    """The path, or the address without credentials."""

    @abstractmethod
    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path; what is there at the end of the block becomes the file `name`, whole or not at all.

        Raises:
            ExportError: it cannot be written.
        """
        yield Path()

    @abstractmethod
    def names(self) -> set[str]:
        """List all files, without temporary ones."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Read a small file; None: it does not exist."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class LocalPlace(Place):
    """A folder; created if missing.

    Args:
        folder: its path.

    Raises:
        ExportError: it is a file.
    """

    def __init__(self, folder: Path) -> None:
        check_export_dir(folder)
        self.folder, self.name = folder, str(folder)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """See `Place`."""
        with atomic_write(self.folder / name) as temporary:
            yield temporary

    def names(self) -> set[str]:
        """See `Place`."""
        files = (one for one in self.folder.rglob("*") if one.is_file() and not one.name.startswith("."))
        return {one.relative_to(self.folder).as_posix() for one in files}

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        with suppress(FileNotFoundError):
            return (self.folder / name).read_bytes()
        return None

    def remove(self, name: str) -> None:
        """See `Place`."""
        (self.folder / name).unlink(missing_ok=True)


class RemotePlace(Place):
    """A prefix in an object store.

    Args:
        address: of the prefix.
    """

    def __init__(self, address: str) -> None:
        self._prefix = normalized(address).rstrip("/") + "/"
        self._store, self.name = open_store(address), shown(address)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """See `Place`."""
        with tempfile.TemporaryDirectory(prefix="da3-") as folder:
            temporary = Path(folder) / f"upload{Path(name).suffix}"
            try:
                yield temporary
            except OSError as error:
                raise ExportError(f"{temporary}: cannot be written ({error.strerror or error})") from error
            self._store.write(temporary, self._prefix + name)

    def names(self) -> set[str]:
        """See `Place`."""
        if not self._store.is_prefix(self._prefix):
            return set()
        return {one.removeprefix(self._prefix) for one in self._store.objects(self._prefix)}

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        try:
            return self._store.read(self._prefix + name, _MAX_SMALL_BYTES)
        except ImageReadError as error:
            if str(error).endswith("no such object"):
                return None
            raise

    def remove(self, name: str) -> None:
        """See `Place`."""
        self._store.remove(self._prefix + name)
