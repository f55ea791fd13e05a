"""Blocks of images and the worker that computes them, without Ray."""

from __future__ import annotations

import json
import pickle
import sys

import pytest

from depth_anything_3.errors import (
    DA3Error,
    DeviceError,
    ExportError,
    InvalidInputError,
    UnsupportedError,
)
from depth_anything_3.jobs.cluster.blocks import Block, ListedImage, block_size, make_blocks
from depth_anything_3.jobs.cluster.job import parse_workers
from depth_anything_3.jobs.cluster.worker import BlockWorker, describe
from depth_anything_3.runtime.pool import Workers
from depth_anything_3.runtime.ray_cluster import Node, _own_error, connected
from support.images import jpeg, write

pytest.importorskip("pyarrow")

TOKEN = "0123abcd"


class FakeCluster:
    def __init__(self, *nodes):
        self._nodes = [Node(str(index), str(index), *one) for index, one in enumerate(nodes)]

    def nodes(self):
        return self._nodes


@pytest.fixture
def block(tmp_path):
    images = [("a.jpg", jpeg()), ("sub/b.jpg", jpeg()[:200]), ("c.jpg", jpeg(seed=3))]
    listed = []
    for id, data in images:
        path = write(tmp_path / id.replace("/", "_"), data)
        listed.append(ListedImage(id, str(path), str(path)))
    return Block(3, tuple(listed))


@pytest.mark.parametrize(
    ("images", "workers", "size"), [(10, 8, 8), (1000, 8, 31), (1_000_000, 64, 128), (0, 1, 8)], ids=str
)
def test_blocks_are_small_enough_for_all_workers(images, workers, size):
    assert block_size(images, workers) == size


def test_every_image_and_archive_is_in_one_block():
    images = [ListedImage(str(index), "", "") for index in range(20)]
    blocks = make_blocks(images, ["x.tar", "y.tar"], 8)
    assert [one.archive for one in blocks] == ["x.tar", "y.tar", "", "", ""]
    assert [image for one in blocks for image in one.images] == images
    assert len({one.first_part for one in blocks}) == 5


@pytest.mark.parametrize(
    ("text", "gpus", "nodes", "workers"),
    [
        ("", None, [(8.0, 0.0), (4.0, 0.0)], Workers(1, 12, 1, 0.0)),
        ("", None, [(8.0, 0.0), (32.0, 4.0)], Workers(1, 4, 8, 1.0)),
        ("2:6", 0.5, [(32.0, 4.0)], Workers(2, 6, 4, 0.5)),
        ("3", 0, [(8.0, 4.0)], Workers(1, 3, 1, 0)),
    ],
    ids=["cores", "gpus", "shared-gpus", "without-gpus"],
)
def test_workers_fit_the_cluster(text, gpus, nodes, workers):
    assert parse_workers(text, gpus, FakeCluster(*nodes)) == workers


@pytest.mark.parametrize(("text", "gpus"), [("0:2", None), ("3:2", None), ("many", None), ("1:2", 1.5), ("1:2", -1)])
def test_workers_that_cannot_be_are_refused(text, gpus):
    with pytest.raises(InvalidInputError, match=r"MIN:MAX|gpus_per_worker"):
        parse_workers(text, gpus, FakeCluster((8.0, 8.0)))


def test_a_block_that_is_computed_twice_is_there_once(block, tmp_path, cluster_job):
    job = pickle.loads(pickle.dumps(cluster_job(tmp_path / "out")))
    worker = BlockWorker(job, describe(job).settings, TOKEN)
    results = [worker(block) for _ in range(2)]
    folder = tmp_path / "out" / "parquet"
    parts = ["depth-03000-0123abcd.parquet", "errors-03001-0123abcd.parquet"]
    assert sorted(one.name for one in folder.iterdir()) == sorted([*parts, *(f"_{one}.ids.json" for one in parts)])
    assert json.loads((folder / f"_{parts[0]}.ids.json").read_text()) == ["a.jpg", "c.jpg"]
    assert [(one.report.images, len(one.report.failures)) for one in results] == [(2, 1), (2, 1)]
    assert results[0].report.records[0].error_class == "ImageDecodeError"
    assert pickle.loads(pickle.dumps(results[0])).seconds > 0


def test_a_machine_that_computes_with_other_settings_is_refused(tmp_path, cluster_job):
    job = cluster_job(tmp_path / "out")
    with pytest.raises(UnsupportedError, match="computes with dtype 'float32', the first worker with 'bfloat16'"):
        BlockWorker(job, {**describe(job).settings, "dtype": "bfloat16"}, TOKEN)


def test_a_part_that_cannot_be_written_fails_the_block(block, tmp_path, cluster_job):
    job = cluster_job(tmp_path / "out")
    worker = BlockWorker(job, describe(job).settings, TOKEN)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ExportError):
        worker(block)


def test_the_error_of_a_worker_is_found_in_that_of_ray():
    own = ExportError("full")

    class TaskError(RuntimeError):
        cause = own

    class Mixed(TaskError, DA3Error):
        pass

    outer = RuntimeError("Ray failed\n\n  because")
    outer.__cause__ = Mixed("as text")
    assert _own_error(outer) is own
    assert str(_own_error(RuntimeError("Ray failed\n\n  because"))).endswith("RuntimeError: because")
    assert isinstance(_own_error(RuntimeError()), DeviceError)


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install '\.\[ray\]'"), connected("auto"):
        pass
