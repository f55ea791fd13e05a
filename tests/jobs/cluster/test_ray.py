"""Runs on a cluster of three nodes: all results once, also when a node, the driver or the store is lost."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.cli.cluster import print_workers
from depth_anything_3.errors import CheckpointError, InvalidInputError
from depth_anything_3.jobs.cluster.job import parse_workers, run_on_cluster
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.jobs.sources.find import find_stored
from depth_anything_3.jobs.sources.store import open_store
from depth_anything_3.jobs.stored import run_stored
from depth_anything_3.runtime.pool import Workers
from depth_anything_3.runtime.ray_cluster import connected
from support.images import jpeg

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # minutes; warnings of Ray's libraries

IMAGES = int(os.environ.get("DA3_CLUSTER_IMAGES", "200"))  # CI takes few; 2,000 were run by hand
AWAY_SECONDS = 5 if IMAGES <= 200 else 20
WORKERS = Workers(1, 3, 1.0, 0.0)


def image(index):
    """A JPEG of its own: a comment makes the bytes unique. One of 100 is cut off."""
    data, comment = jpeg(120, 80, seed=index % 20), str(index).encode()
    data = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
    return data[:200] if index % 100 == 7 else data


def fill(folder, count):
    """Put images into a folder or bucket; return their ids."""
    names = [f"{index:05d}.jpg" for index in range(count)]
    if str(folder).startswith("s3://"):
        open_store(folder)._fs.pipe({f"{folder}/{name}": image(index) for index, name in enumerate(names)})
    else:
        folder.mkdir()
        for index, name in enumerate(names):
            (folder / name).write_bytes(image(index))
    return names


def rows(place):
    """The rows of all parts below a folder or bucket."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(one for one in place.names() if one.endswith(".parquet"))
    return [row for one in names for row in pq.read_table(pa.BufferReader(place.read(one))).to_pylist()]


def check_complete(place, ids):
    found = rows(place)
    assert Counter(one["id"] for one in found) == Counter(ids)  # nothing lost, nothing double
    failed = [one for one in found if one["error"]]
    assert [one["error"].partition(":")[0] for one in failed] == ["ImageDecodeError"] * (-(-(len(ids) - 7) // 100))
    return {one["id"]: one["depth"] for one in found}


def spilled(cluster):
    """The files to which the object store has spilled."""
    return [*Path(cluster.head_node.get_session_dir_path()).glob("ray_spilled_objects*/*")]


def test_from_s3_to_s3_with_the_bytes_of_a_run_in_one_process(ray_cluster, s3, cluster_job, capsys):
    ids, done = fill(f"{s3}/in", IMAGES), []
    job = cluster_job(f"{s3}/out")
    with connected("auto") as cluster:
        report = run_on_cluster(cluster, WORKERS, [f"{s3}/in"], job, on_progress=lambda failed: done.append(failed))
    assert not spilled(ray_cluster)
    depth = check_complete(place_of(f"{s3}/out"), ids)
    bad = -(-(IMAGES - 7) // 100)
    assert (report.images, len(report.failures), len(done)) == (IMAGES - bad, bad, IMAGES)
    assert report.error_classes == {"ImageDecodeError": bad}
    assert sum(one.images for one in report.workers) == report.images
    written = json.loads(place_of(f"{s3}/out").read("report.json"))
    assert written["workers"][0]["images_per_second"] > 0
    print_workers(report)
    assert "errors: ImageDecodeError" in capsys.readouterr().out
    engine = DepthAnything3.from_pretrained("da3-nano", "cpu").engine
    alone = place_of(f"{s3}/alone")
    run_stored(engine, find_stored([f"{s3}/in"]), alone, job.destination, job.options, job.sink)
    assert {one["id"]: one["depth"] for one in rows(alone)} == depth
    with connected("auto") as cluster:
        job = cluster_job(f"{s3}/out", resume=True)
        again = run_on_cluster(cluster, WORKERS, [f"{s3}/in"], job)
    assert (again.images, again.skipped, len(again.failures)) == (0, IMAGES - bad, bad)
    check_complete(place_of(f"{s3}/out"), ids)


def test_a_lost_node_costs_no_result_and_doubles_none(ray_cluster, tmp_path, cluster_job):
    ids, seconds, killed = fill(tmp_path / "in", IMAGES), {}, []
    node = next(iter(ray_cluster.worker_nodes))

    def lose(failed):
        done.append(failed)
        if len(done) == int(0.3 * IMAGES):
            ray_cluster.remove_node(node, allow_graceful=False)
            killed.append(len(done))

    for name, on_progress in (("whole", lambda failed: None), ("lost", lose)):
        done: list[int] = []
        began = time.monotonic()
        with connected("auto") as cluster:
            run_on_cluster(
                cluster, WORKERS, [str(tmp_path / "in")], cluster_job(tmp_path / name), on_progress=on_progress
            )
        seconds[name] = time.monotonic() - began
        check_complete(place_of(str(tmp_path / name)), ids)
    assert killed
    print(f"undisturbed {seconds['whole']:.1f} s, a node lost {seconds['lost']:.1f} s")
    # Ray notices after about 8 s that a node is gone.
    assert seconds["lost"] < 2.5 * seconds["whole"] + 20


def test_a_killed_driver_leaves_what_resume_completes(ray_cluster, tmp_path, cluster_job):
    ids, out = fill(tmp_path / "in", IMAGES), tmp_path / "out"
    line = [
        "images",
        str(tmp_path / "in"),
        "-o",
        str(out),
        "-m",
        "da3-nano",
        "--process-res",
        "56",
        "--batch-size",
        "1",
    ]
    flags = ["--cluster", ray_cluster.address, "--workers", "1:3", "--num-workers", "1"]
    code = "from depth_anything_3.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", code, *line, *flags], start_new_session=True) as driver:
        while driver.poll() is None and not [*out.glob("parquet/depth-*")]:
            time.sleep(0.05)
        assert driver.poll() is None, "it has finished: give it more images"
        os.killpg(driver.pid, signal.SIGKILL)
    wait_for_the_workers_of_others()
    before = {id for one in out.glob("parquet/_*.ids.json") for id in json.loads(one.read_text())}
    # Not those that begin with a dot: they were being written, and the next run removes them.
    parts = {one.name for one in out.glob("parquet/[!.]*.parquet")}
    assert 0 < len(before) < IMAGES
    with connected("auto") as cluster:
        report = run_on_cluster(cluster, WORKERS, [str(tmp_path / "in")], cluster_job(out, resume=True))
    failed = len(report.failures)
    assert report.images + report.skipped + failed == IMAGES
    assert report.skipped > 0
    assert parts - {one for one in parts if one.startswith("errors")} <= {one.name for one in out.glob("parquet/*")}
    check_complete(place_of(str(out)), ids)


def wait_for_the_workers_of_others():
    """Wait until Ray has ended the workers of a killed driver."""
    psutil = pytest.importorskip("psutil")
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if not any("ray::MapWorker" in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])):
            return
        time.sleep(0.2)
    pytest.fail("the workers of a killed driver still run")


def test_a_store_that_is_away_for_seconds_is_waited_for(ray_cluster, s3, s3_server, cluster_job):
    ids, done = fill(f"{s3}/in", 60), []

    def interrupt(failed):
        done.append(failed)
        if len(done) == 10:
            s3_server.stop()
            back.start()

    back = threading.Timer(AWAY_SECONDS, s3_server.start)
    with connected("auto") as cluster:
        job = cluster_job(f"{s3}/out")
        report = run_on_cluster(cluster, Workers(1, 1, 1.0, 0.0), [f"{s3}/in"], job, on_progress=interrupt)
    back.join()
    assert report.images == 59
    check_complete(place_of(f"{s3}/out"), ids)


@pytest.mark.parametrize("pack", ["webdataset", "files"])
def test_archives_and_other_packs(ray_cluster, tmp_path, cluster_job, pack):
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for index in range(9):
            member = tarfile.TarInfo(f"{index}.jpg")
            member.size = len(image(index))
            tar.addfile(member, io.BytesIO(image(index)))
    with connected("auto") as cluster:
        run = partial(run_on_cluster, cluster, Workers(1, 1, 1.0, 0.0), [str(tmp_path / "in.tar")])
        report = run(cluster_job(tmp_path / "out", pack=pack))
        again = run(cluster_job(tmp_path / "out", pack=pack, resume=True))
    assert (report.images, report.error_classes) == (8, {"ImageDecodeError": 1})
    assert (again.images, again.skipped, len(again.failures)) == (0, 8, 1)
    names = place_of(str(tmp_path / "out")).names()
    assert len([one for one in names if one.startswith("depth_png/")]) == (8 if pack == "files" else 0)


def test_misuse_is_reported(ray_cluster, tmp_path, cluster_job):
    fill(tmp_path / "in", 2)
    with connected("auto") as cluster:
        nodes = len(cluster.nodes())  # another test has lost one
        assert parse_workers("", None, cluster) == Workers(1, nodes, 1, 0.0)
        assert parse_workers("2:5", 0, cluster) == Workers(2, 5, 1, 0.0)
        for text in ("0:2", "3:2", "x"):
            with pytest.raises(InvalidInputError, match="MIN:MAX"):
                parse_workers(text, None, cluster)
        job = cluster_job(tmp_path / "out", model=str(tmp_path / "no such model"))
        with pytest.raises(CheckpointError, match="no such"):
            run_on_cluster(cluster, WORKERS, [str(tmp_path / "in")], job)
    assert not (tmp_path / "out").exists()
