"""An S3 server on loopback: from objects to objects, damaged ones, refusals, credentials."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from pathlib import Path

import pytest

from depth_anything_3.errors import ExportError, ImageReadError
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.sinks import SinkOptions
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.jobs.sources.find import SourceOptions, find_stored
from depth_anything_3.jobs.sources.store import open_store, read_object
from depth_anything_3.jobs.stored import run_stored
from support.images import encoded, jpeg, write
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8

pytestmark = [
    pytest.mark.slow,  # seconds to start
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of the server's libraries
]

SECRET = "wJalrXUtnFEMI-secret"
SMALL = {"process_res": 56, "num_workers": 2, "on_error": "skip"}


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def moto_server():
    """The module; imported here, because other runs collect this file too."""
    pytest.importorskip("s3fs")
    return pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def s3(port, moto_server):
    started = moto_server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    started.start()
    yield
    started.stop()


@pytest.fixture
def environment(port, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def bucket(s3, environment):
    name = f"s3://{uuid.uuid4().hex}"
    open_store(name)._fs.mkdir(name)
    return name


def put(address, data):
    open_store(address)._fs.pipe_file(address, data)


def run(model, source, out, **sink):
    parsed = StreamOptions.parse(SMALL, caller=run)
    destination = Destination(folder=out, formats="depth_png")
    return run_stored(model.engine, find_stored([source]), place_of(str(out)), destination, parsed, SinkOptions(**sink))


def test_from_objects_to_objects_with_the_results_of_files(seeded_small, bucket, tmp_path, caplog):
    pngs = [encoded(one, "PNG") for one in seeded_images_uint8(3, 42, 56, seed=3)]
    for index, png in enumerate(pngs):
        put(f"{bucket}/in/{index}.png", png)
    put(f"{bucket}/in/sub/bad.jpg", jpeg()[:200])
    put(f"{bucket}/in/sub/empty.jpg", b"")
    with caplog.at_level(logging.DEBUG, "depth_anything_3"):
        report = run(seeded_small, f"{bucket}/in", f"{bucket}/out")
    assert (report.images, len(report.failures)) == (3, 2)
    assert SECRET not in f"{caplog.text}{report.as_dict()}"
    files = [write(tmp_path / f"{index}.png", png) for index, png in enumerate(pngs)]
    run_images(seeded_small, files, tmp_path / "out", "depth_png", **SMALL)
    for index in range(3):
        expected = (tmp_path / "out" / "depth_png" / f"{index}.png").read_bytes()
        assert read_object(f"{bucket}/out/depth_png/{index}.png.png") == expected
    again = run(seeded_small, f"{bucket}/in", f"{bucket}/out", resume=True)
    assert (again.images, again.skipped, len(again.failures)) == (0, 3, 2)


@pytest.mark.parametrize("pack", ["webdataset", "parquet"])
def test_packed_results_in_a_store_are_sources_too(seeded_small, bucket, tmp_path, pack):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a", "b"], "image": [jpeg(seed=1), jpeg(seed=2)]}), tmp_path / "in.parquet")
    put(f"{bucket}/in.parquet", (tmp_path / "in.parquet").read_bytes())
    assert run(seeded_small, f"{bucket}/in.parquet", f"{bucket}/{pack}", pack=pack, part_size=1).images == 2
    assert run(seeded_small, f"{bucket}/in.parquet", f"{bucket}/{pack}", pack=pack, resume=True).skipped == 2
    column = {"webdataset": "depth.png", "parquet": "depth"}[pack]
    found = list(find_stored([f"{bucket}/{pack}/{pack}"], SourceOptions(image_column=column)))
    assert [(one.id, one.data[:4]) for one in found] == [("a", b"\x89PNG"), ("b", b"\x89PNG")]


def test_what_is_missing_or_forbidden_is_reported_at_once(bucket):
    began = time.monotonic()
    with pytest.raises(ImageReadError, match="no such object"):
        read_object(f"{bucket}/missing.jpg")
    address = "s3://no-such-bucket-here/x"
    with pytest.raises(ExportError, match="cannot be written"):
        open_store(address).write(Path(__file__), address)
    assert time.monotonic() - began < 10


def test_a_server_that_is_away_for_seconds_is_survived(environment, moto_server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    late = moto_server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    timer = threading.Timer(3, late.start)
    timer.start()
    try:
        store = open_store("s3://late/x")
        store._retries(lambda: store._fs.mkdir("s3://late"))
        put("s3://late/x", b"content")
        assert read_object("s3://late/x") == b"content"
    finally:
        timer.join()
        late.stop()
