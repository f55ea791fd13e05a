"""Take addresses apart, and show them without credentials."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["SCHEMES", "is_address", "normalized", "reason", "shown"]

SCHEMES = ("s3", "gs", "hf", "https", "http")
"""Schemes of the addresses that are read."""

_START = re.compile(rf"(?P<scheme>{'|'.join((*SCHEMES, 'memory'))}):/+(?P<rest>.*)", re.DOTALL)  # memory: for tests
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def is_address(text: str) -> bool:
    """Whether a text is the address of an object that can be read; also with the one slash that a `Path` leaves."""
    return _START.match(text) is not None


def normalized(text: str) -> str:
    """Return an address with both slashes, of which a `Path` leaves one."""
    found = _START.match(text)
    return f"{found['scheme']}://{found['rest']}" if found else text


def shown(address: str) -> str:
    """Return an address without user, password, query and fragment, which may hold credentials. Paths stay."""
    if not is_address(address):
        return address
    address = normalized(address)
    scheme, _, rest = address.partition("://")
    if scheme not in ("http", "https"):  # # and ? are common in keys, but a query may be a signature
        bucket, slash, key = rest.partition("/")
        return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{key.partition('?')[0]}"
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def reason(error: BaseException) -> str:
    """Say what an error of a store is, in one line and without credentials."""
    text = _IN_TEXT.sub(lambda found: _plain(found[0]), str(error))
    first = text.strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _plain(address: str) -> str:
    return shown(address) if is_address(address) else address.partition("?")[0]
