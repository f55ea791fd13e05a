"""Addresses are shown without what may be a secret."""

from __future__ import annotations

import pytest

from depth_anything_3.jobs.sources.address import is_address, reason, shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://user:secret@host/a.jpg", "https://host/a.jpg"),
        ("https://host:8080/a.jpg?X-Amz-Signature=secret#secret", "https://host:8080/a.jpg"),
        ("s3://key:secret@bucket/a b#1.jpg", "s3://bucket/a b#1.jpg"),
        ("s3://bucket/a.jpg?sig=secret", "s3://bucket/a.jpg"),
        ("s3:/bucket/a.jpg", "s3://bucket/a.jpg"),  # as a `Path` leaves it
        ("photos/a?.jpg", "photos/a?.jpg"),
    ],
)
def test_an_address_is_shown_without_credentials(address, expected):
    assert shown(address) == expected


def test_the_reason_of_an_error_has_no_credentials():
    error = OSError("GET https://u:secret@host/x?sig=secret failed\nsecond line")
    assert reason(error) == "OSError: GET https://host/x failed"


@pytest.mark.parametrize("text", ["a.jpg", "c:/photos", "ftp://host/a", "rtsp://camera", "file:///a"])
def test_only_known_schemes_are_addresses_of_images(text):
    assert not is_address(text)
