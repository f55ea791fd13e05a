"""Parse the address of a page."""

from __future__ import annotations

import re

from depth_anything_3.errors import InvalidInputError

__all__ = ["parse_address"]

_ADDRESS = re.compile(r"(?:(?P<host>[^\[\]:]*|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Parse "8000", "0.0.0.0:8000" or "[::1]:8000" into host and port; the default host is 127.0.0.1.

    Raises:
        InvalidInputError: the text is not an address.
    """
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise InvalidInputError(f"--http {text}: give PORT or HOST:PORT, such as 8000 or 0.0.0.0:8000")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])
