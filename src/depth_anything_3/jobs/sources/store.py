"""Object stores and web servers through fsspec and urllib: list, read, write."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from depth_anything_3.errors import DA3Error, ExportError, ImageReadError, InvalidInputError, UnsupportedError
from depth_anything_3.inputs.image_source import check_bytes
from depth_anything_3.inputs.limits import MAX_BYTES
from depth_anything_3.jobs.sources.address import normalized, reason, shown
from depth_anything_3.jobs.sources.http import read_http, size_http
from depth_anything_3.jobs.sources.retries import Retries

__all__ = ["ObjectFile", "Store", "open_store", "read_object"]

Result = TypeVar("Result")

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_BLOCK = 8 << 20  # bytes read at once of a large object
_NO_LISTS = "a web server does not list its images; give each, or a CSV list"
_NO_ACCESS = "check the credentials in the environment, which are never shown here"


def open_store(address: str) -> Store:
    """Return the store of an address, one for each bucket or server; see `Store`."""
    scheme, _, rest = normalized(address).partition("://")
    return _store(scheme, rest.partition("/")[0], _s3_endpoint() if scheme == "s3" else None)


@lru_cache(maxsize=32)
def _store(scheme: str, bucket: str, endpoint: str | None) -> Store:
    return Store(scheme, Retries(shown(f"{scheme}://{bucket}")), endpoint)


def _s3_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def read_object(address: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Read an object; see `Store.read`."""
    return open_store(address).read(address, max_bytes)


class Store:
    """An object store or web server. Credentials come from the environment, as each library documents it.

    For s3, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names another server than that of AWS. Thread-safe.

    Args:
        scheme: of the addresses.
        retries: of refused requests.
        endpoint: address of the server, for s3; None: that of AWS.

    Raises:
        UnsupportedError: the package that speaks with the store is missing.
    """

    def __init__(self, scheme: str, retries: Retries, endpoint: str | None = None) -> None:
        self.scheme = scheme
        self._retries = retries
        self._fs: Any = (
            None if scheme in ("http", "https") else _file_system(scheme, endpoint)
        )  # Any: fsspec is not typed

    def read(self, address: str, max_bytes: int = MAX_BYTES) -> bytes:
        """Read an object.

        Raises:
            ImageReadError: it is missing, or the store refuses.
            ImageSizeError: it has more than `max_bytes`.
        """
        whole = normalized(address)
        if self._fs is None:
            data = self._call(address, lambda: read_http(whole, end=max_bytes + 1))
        else:
            # One byte more than is accepted shows that there is more.
            data = self._call(address, lambda: self._fs.cat_file(whole, start=0, end=max_bytes + 1))
        check_bytes(len(data), shown(address), max_bytes)
        if not data:
            raise ImageReadError(f"{shown(address)}: the object is empty")
        return bytes(data)

    def read_part(self, address: str, start: int, end: int) -> bytes:
        """Read bytes of an object. Errors as in `read`."""
        whole = normalized(address)
        if self._fs is None:
            return self._call(address, lambda: read_http(whole, start=start, end=end))
        return bytes(self._call(address, lambda: self._fs.cat_file(whole, start=start, end=end)))

    def size(self, address: str) -> int:
        """Return the number of bytes of an object. Errors as in `read`."""
        whole = normalized(address)
        if self._fs is None:
            return self._call(address, lambda: size_http(whole))
        return int(self._call(address, lambda: self._fs.size(whole)))

    def is_prefix(self, address: str) -> bool:
        """Whether objects begin with this address and a slash."""
        return self._fs is not None and bool(self._call(address, lambda: self._fs.isdir(normalized(address))))

    def objects(self, prefix: str) -> Iterator[str]:
        """Yield the addresses of all objects below a prefix, sorted by folder; hidden ones are left out.

        Raises:
            ImageReadError: the store refuses.
            InvalidInputError: web servers have no lists.
        """
        if self._fs is None:
            raise InvalidInputError(f"{shown(prefix)}: {_NO_LISTS}")
        waiting = [self._fs._strip_protocol(normalized(prefix))]
        while waiting:
            folder = waiting.pop()
            found = self._call(f"{self.scheme}://{folder}", partial(self._fs.ls, folder, detail=True))
            entries = sorted((one["name"].rstrip("/"), one["type"]) for one in found)
            visible = [one for one in entries if not _hidden(one[0]) and one[0] != folder]
            yield from (self._address(name) for name, kind in visible if kind == "file")
            waiting += [name for name, kind in reversed(visible) if kind == "directory"]

    def glob(self, pattern: str) -> list[str]:
        """Return the addresses of the objects that match a pattern, sorted. Errors as in `objects`."""
        if self._fs is None:
            raise InvalidInputError(f"{shown(pattern)}: {_NO_LISTS}")
        found = self._call(pattern, lambda: self._fs.glob(normalized(pattern)))
        return [self._address(one) for one in sorted(found)]

    def write(self, file: Path, address: str) -> None:
        """Upload a file; the object is there whole or not at all.

        Raises:
            ExportError: the store refuses.
            UnsupportedError: web servers take no results.
        """
        if self._fs is None:
            raise UnsupportedError(
                f"{shown(address)}: results cannot be written to a web server; give a folder or s3://"
            )
        try:
            self._retries(lambda: self._fs.put_file(str(file), normalized(address)))
        except Exception as error:  # as in `_call`
            raise ExportError(f"{shown(address)}: cannot be written ({reason(error)})") from None

    def remove(self, address: str) -> None:
        """Remove an object, if it is there. Errors as in `write`."""
        try:
            self._retries(lambda: self._fs.rm_file(normalized(address)))
        except FileNotFoundError:
            return
        except Exception as error:  # as in `_call`
            raise ExportError(f"{shown(address)}: cannot be removed ({reason(error)})") from None

    def _address(self, name: str) -> str:
        return f"{self.scheme}://{name.lstrip('/')}"

    def _call(self, address: str, work: Callable[[], Result]) -> Result:
        """Return `work()`, tried again as long as that may help; errors become ours, without credentials."""
        try:
            return self._retries(work)
        except DA3Error:
            raise
        except FileNotFoundError:
            raise ImageReadError(f"{shown(address)}: no such object") from None
        except Exception as error:  # each library of a store has errors of its own
            denied = isinstance(error, PermissionError) or "Credential" in type(error).__name__
            hint = f"; {_NO_ACCESS}" if denied else ""
            raise ImageReadError(f"{shown(address)}: cannot be read ({reason(error)}){hint}") from None


def _hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _file_system(scheme: str, endpoint: str | None) -> Any:  # Any: as in `Store`
    import fsspec  # type: ignore[import-untyped]

    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options |= {"endpoint_url": endpoint} if endpoint else {}
        # Ours are the retries: botocore's would multiply them.
        options["config_kwargs"] = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}}
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError:
        package, extra = _PACKAGES.get(scheme, "huggingface-hub"), _EXTRAS.get(scheme)
        how = f"pip install '.[{extra}]'" if extra else f"pip install {package}"
        raise UnsupportedError(f"{scheme}:// needs the package {package}: {how}") from None


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read from any place; each block is read anew if the store refuses.

    Args:
        address: of the object.

    Raises:
        ImageReadError: the object is missing, or the store refuses; reading raises it too.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address, self._store = address, open_store(address)
        self._size = self._store.size(address)
        self._place, self._block, self._start = 0, b"", 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether the place can be set: yes."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the place, and return it."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any, /) -> int:  # Any: a writable buffer
        """Read at most as many bytes as the buffer holds; return the number."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._place))
        if not count:
            return 0
        if not self._start <= self._place < self._start + len(self._block):
            end = min(self._size, self._place + max(_BLOCK, count))
            self._block, self._start = self._store.read_part(self._address, self._place, end), self._place
            if len(self._block) != end - self._place:
                sent = f"{len(self._block):,} bytes of {end - self._place:,}"
                raise ImageReadError(f"{shown(self._address)}: the store sent {sent}")
        first = self._place - self._start
        count = min(count, len(self._block) - first)
        view[:count] = self._block[first : first + count]
        self._place += count
        return count
