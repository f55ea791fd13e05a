"""A Ray cluster of three nodes on this machine, and an S3 server on loopback."""

from __future__ import annotations

import contextlib
import logging
import socket
import uuid
from functools import partial
from pathlib import Path

import pytest

from depth_anything_3.cli.options import ModelFlags, WriterFlags
from depth_anything_3.cli.splitting import engine_loader
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.jobs.cluster.worker import WorkerJob
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.sinks import SinkOptions
from depth_anything_3.jobs.sources.find import SourceOptions
from depth_anything_3.jobs.sources.store import open_store

SMALL = {"process_res": 56, "num_workers": 1, "on_error": "skip", "batch_size": 1}


@pytest.fixture(scope="module")
def s3_port():
    """The port of the server; its address and credentials are in the environment, also of the cluster's nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("RAY_ADDRESS", raising=False)  # a cluster that this machine belongs to is left alone
        yield port


def patiently(start):
    """Ray gives up after 30 s, which a busy machine may need."""
    for _ in range(3):
        with contextlib.suppress(Exception):  # of that very class
            return start()
    return start()


@pytest.fixture(scope="module")
def ray_cluster(s3_port):
    """Three nodes of one logical core each, so that each has one worker; this process is connected."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    limits = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = patiently(lambda: utils.Cluster(initialize_head=True, head_node_args=limits))
    for _ in range(2):
        patiently(lambda: cluster.add_node(**limits))
    cluster.connect()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def s3_server(s3_port):
    """A server that can be stopped and started; it keeps its objects."""
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    class Server:
        def start(self):
            self._running = server.ThreadedMotoServer("127.0.0.1", s3_port, verbose=False)
            self._running.start()

        def stop(self):
            self._running.stop()

    started = Server()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def s3(s3_server):
    """The address of a bucket."""
    name = f"s3://{uuid.uuid4().hex}"
    open_store(name)._fs.mkdir(name)
    return name


@pytest.fixture
def cluster_job():
    """Make the job of a run with the bundled network."""

    def made(export_dir, *, model="da3-nano", pack="parquet", resume=False, **options):
        return WorkerJob(
            load=engine_loader(ModelFlags(model_dir=model, device="cpu")),
            device="cpu",
            threads=1,
            destination=Destination(folder=Path("unused"), formats="depth_png", options=WriterFlags().options()),
            options=StreamOptions.parse({**SMALL, **options}, caller=partial),
            sources=SourceOptions(),
            export_dir=str(export_dir),
            sink=SinkOptions(pack=pack, resume=resume),
        )

    return made
