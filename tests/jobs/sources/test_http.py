"""Images of web servers, and their credentials."""

from __future__ import annotations

import logging

import pytest

from depth_anything_3.errors import ImageReadError, ImageSizeError, InvalidInputError
from depth_anything_3.jobs.sources.find import find_stored
from depth_anything_3.jobs.sources.retries import Retries
from depth_anything_3.jobs.sources.store import ObjectFile, Store, open_store, read_object
from support.object_server import object_server
from support.tars import write_tar


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    tar = write_tar(tmp_path_factory.mktemp("tars") / "a.tar", [("k.jpg", b"in tar")])
    return {"/a.jpg": b"content", "/empty.jpg": b"", "/a.tar": tar.read_bytes()}


@pytest.fixture
def server(objects):
    with object_server(objects) as server:
        yield server


def test_an_object_is_read_with_the_credentials_of_its_address_which_nobody_sees(server, caplog):
    address = server.address.replace("//", "//user:secret@") + "/a.jpg?sig=secret"
    with caplog.at_level(logging.DEBUG):
        (image,) = find_stored([address])
        assert image.data() == b"content"
        with pytest.raises(ImageReadError) as raised:
            read_object(address.replace("a.jpg", "missing.jpg"))
    assert (image.id, image.label) == ("a.jpg", f"{server.address}/a.jpg")
    assert server.requests[0][1] == "/a.jpg?sig=secret"
    assert server.requests[0][2]["Authorization"].startswith("Basic ")
    assert "404" in str(raised.value)
    assert "secret" not in f"{raised.value}{image}{caplog.text}"
    assert raised.value.__cause__ is None


def test_a_refusal_is_survived(server):
    server.refusals = 2
    pauses = []
    store = Store("http", Retries("host", sleep=pauses.append))
    assert store.read(f"{server.address}/a.jpg") == b"content"
    assert pauses == [0.5, 1.0]


def test_a_tar_is_read_in_parts(server):
    (image,) = find_stored([f"{server.address}/a.tar"])
    assert (image.id, image.data) == ("k", b"in tar")
    file = ObjectFile(f"{server.address}/a.jpg")
    file.seek(3)
    assert file.read(2) == b"te"
    assert file.read() == b"nt"


def test_what_cannot_be_read_is_an_error(server):
    for name, limit, error in (("empty.jpg", 9, ImageReadError), ("a.jpg", 3, ImageSizeError)):
        with pytest.raises(error):
            read_object(f"{server.address}/{name}", limit)
    with pytest.raises(InvalidInputError, match="does not list its images"):
        list(open_store(server.address).objects(server.address))
