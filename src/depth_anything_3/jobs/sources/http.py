"""Read objects of web servers."""

from __future__ import annotations

import base64
import urllib.request
from contextlib import closing
from http.client import HTTPException
from io import UnsupportedOperation
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["read_http", "size_http"]

_TIMEOUT = 30.0  # seconds
_PARTIAL = 206


def read_http(address: str, *, start: int = 0, end: int | None = None) -> bytes:
    """Read an object, or the bytes from `start` to before `end`; no more than `end` bytes, if that is given.

    Raises:
        OSError: the server cannot be reached (urllib's errors), or does not send parts of objects.
    """
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
    with closing(_opened(address, "GET", headers)) as answer:
        if start and answer.status != _PARTIAL:
            raise UnsupportedOperation("the server does not send parts of an object; download it first")
        try:
            content: bytes = answer.read() if end is None else answer.read(end - start)
        except HTTPException as error:  # cut off
            raise OSError(f"the answer is incomplete ({type(error).__name__})") from None
    return content


def size_http(address: str) -> int:
    """Return the number of bytes of an object.

    Raises:
        OSError: as `read_http`, or the server does not say.
    """
    with closing(_opened(address, "HEAD", {})) as answer:
        length = answer.headers.get("Content-Length")
    if length is None:
        raise UnsupportedOperation("the server does not say how long the object is; download it first")
    return int(length)


def _opened(address: str, method: str, headers: dict[str, str]) -> Any:  # Any: urllib does not name the type
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 (the scheme is checked by `is_address`)
        urlunsplit((parts.scheme, host, parts.path, parts.query, "")), method=method, headers=headers
    )
    request.add_header("User-Agent", "depth-anything-3-fast")
    if at:  # not sent on to where a redirection leads
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except HTTPError as error:
        error.close()  # it holds the connection
        raise
