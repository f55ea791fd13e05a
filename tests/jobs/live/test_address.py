"""Addresses of the live page."""

from __future__ import annotations

import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.jobs.live.address import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8000", ("127.0.0.1", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9", ("::1", 9)),
        ("me.local:0", ("me.local", 0)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "host:", "70000", "1:2:3", "http://host:80"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidInputError, match="--http"):
        parse_address(text)
