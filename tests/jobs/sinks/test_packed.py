"""Parts of packed results: contents, resume, failures, and what happens when a run is cut off."""

from __future__ import annotations

import json
import os
import uuid

import fsspec
import pytest

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import export
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.runtime.version import __version__
from support.command import files_in
from support.tars import read_tar


def parts(folder, kind):
    return sorted(one for one in folder.glob("*/*") if one.name.startswith(kind))


def test_tars_hold_the_files_and_the_facts_of_each_sample(tmp_path, opened, prediction):
    with opened(tmp_path / "out", "webdataset", part_size=2, formats="depth_png-mini_npz") as sink:
        for id in ("x/1.jpg", "2", "3"):
            sink.write(id, id, prediction)
        sink.fail("4", ValueError("no"))
    first, second = map(read_tar, parts(tmp_path / "out", "depth"))
    assert list(first) == [
        f"{key}.{kind}" for key in ("x/1_jpg", "2") for kind in ("depth.png", "mini_npz.npz", "json")
    ]
    export(prediction, tmp_path, "depth_png", "alone")
    assert first["2.depth.png"] == (tmp_path / "depth_png" / "alone.png").read_bytes()
    facts = json.loads(first["x/1_jpg.json"])
    assert facts.pop("depth_scale") == pytest.approx(2 / 65535)
    assert facts == {
        "id": "x/1.jpg",
        "unit": "relative",
        "height": 6,
        "width": 8,
        "model": "tiny",
        "da3_version": __version__,
        "warnings": ["a: odd"],
        "error": None,
    }
    assert list(second) == ["3.depth.png", "3.mini_npz.npz", "3.json"]
    (errors,) = map(read_tar, parts(tmp_path / "out", "errors"))
    assert json.loads(errors["4.json"])["error"] == "ValueError: no"


def test_keys_that_would_be_equal_are_kept_apart(tmp_path, opened, prediction):
    with opened(tmp_path, "webdataset") as sink:
        sink.write("a.jpg", "", prediction)
        sink.write("a_jpg", "", prediction)
    (part,) = map(read_tar, parts(tmp_path, "depth"))
    assert [json.loads(part[f"{key}.json"])["id"] for key in ("a_jpg", "a_jpg_")] == ["a.jpg", "a_jpg"]


def test_parquet_is_read_by_anything_that_reads_a_folder(tmp_path, opened, prediction):
    pq = pytest.importorskip("pyarrow.parquet")
    with opened(tmp_path, "parquet", part_size=70) as sink:
        for index in range(100):
            sink.write(str(index), "", prediction)
        sink.fail("bad", ValueError("no"))
    rows = pq.read_table(tmp_path / "parquet").to_pylist()
    assert sorted(one["id"] for one in rows) == sorted([*map(str, range(100)), "bad"])
    bad = next(one for one in rows if one["id"] == "bad")
    assert (bad["error"], bad["depth"], bad["height"]) == ("ValueError: no", None, None)
    good = next(one for one in rows if one["id"] == "7")
    export(prediction, tmp_path, "depth_png", "alone")
    assert good["depth"] == (tmp_path / "depth_png" / "alone.png").read_bytes()
    assert (good["unit"], good["height"], good["width"], good["warnings"]) == ("relative", 6, 8, ["a: odd"])
    assert pq.read_metadata(parts(tmp_path, "depth")[0]).num_row_groups == 2


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path):
    return tmp_path / "out" if request.param == "disk" else f"memory://{uuid.uuid4().hex}/out"


def all_ids(place):
    """The ids of the parts that exist, by kind."""
    found = {"depth": [], "errors": []}
    store = fsspec.filesystem("memory" if "://" in str(place) else "file")
    for name in store.find(str(place)):
        base = name.rpartition("/")[2]
        if base.startswith("_"):
            found[base[1:].partition("-")[0]] += json.loads(store.cat_file(name))
    return {kind: sorted(ids) for kind, ids in found.items()}


def test_a_resumed_run_skips_what_is_done_and_tries_failures_again(place, opened, prediction):
    with opened(place, "webdataset", part_size=2) as sink:
        for id in "abc":
            assert not sink.is_done(id, id)
            sink.write(id, id, prediction)
        sink.fail("d", ValueError())
        sink.fail("e", ValueError())
    assert all_ids(place) == {"depth": ["a", "b", "c"], "errors": ["d", "e"]}
    with opened(place, "webdataset", part_size=2, resume=True) as sink:
        assert [one for one in "abcdef" if not sink.is_done(one, one)] == ["d", "e", "f"]
        sink.write("d", "d", prediction)
        sink.fail("e", ValueError())
        sink.write("f", "f", prediction)
    assert all_ids(place) == {"depth": ["a", "b", "c", "d", "f"], "errors": ["e"]}


def test_results_are_not_mixed_by_accident(place, opened, prediction):
    def write_one(**options):
        with opened(place, "webdataset", **options) as sink:
            sink.write("a", "a", prediction)

    write_one()
    with pytest.raises(InvalidInputError, match="has results already"):
        write_one()
    with pytest.raises(InvalidInputError, match="computed with other settings"):
        write_one(resume=True, settings={"process_res": 7})
    assert all_ids(place)["depth"] == ["a"]
    write_one(overwrite=True)
    assert all_ids(place)["depth"] == ["a"]
    with opened(place, "webdataset", resume=True, overwrite=True, settings={"process_res": 7}) as sink:
        assert not sink.is_done("a", "a")


def ids_of(shard):
    return [one for one in "abcdefgh" if shard.contains(one)]


def test_shards_share_a_place(place, opened, prediction):
    first, second = Shard(0, 2), Shard(1, 2)

    def write(shard, **options):
        with opened(place, "webdataset", part_size=2, shard=shard, **options) as sink:
            left = [one for one in ids_of(shard) if not sink.is_done(one, one)]
            for id in left:
                sink.write(id, id, prediction)
        return left

    running = opened(place, "webdataset", shard=first)
    with pytest.raises(InvalidInputError, match="now 7"):
        write(second, settings={"process_res": 7})
    assert write(second) == ids_of(second)
    running.close(aborted=False)
    assert write(first) == ids_of(first)
    assert all_ids(place)["depth"] == list("abcdefgh")
    with pytest.raises(InvalidInputError, match="has results already"):
        write(first)
    with pytest.raises(InvalidInputError, match="results of other shards"):
        write(first, overwrite=True)
    assert [write(one, resume=True) for one in Shard(0, 1).split(3)] == [[], [], []]


def test_failures_that_shards_of_another_count_share_stand_in_one_part(place, opened, prediction):
    with opened(place, "webdataset", shard=Shard(0, 1)) as sink:
        for id in "abcdefgh":
            sink.fail(id, ValueError())
    shards = Shard(0, 1).split(2)
    sinks = [opened(place, "webdataset", shard=one, resume=True) for one in shards]
    for sink, shard in zip(sinks, shards, strict=True):
        with sink:
            for id in ids_of(shard):
                sink.write(id, id, prediction) if id < "e" else sink.fail(id, ValueError())
    assert all_ids(place) == {"depth": list("abcd"), "errors": list("efgh")}


def test_a_resumed_run_removes_the_part_that_a_killed_run_has_left(tmp_path, opened):
    folder = tmp_path / "webdataset"
    folder.mkdir()
    young, old = (folder / f".{letter * 32}.tar" for letter in "ab")
    for path in (young, old, folder / ".other.tar"):
        path.write_bytes(b"cut off")
    os.utime(old, (1, 1))
    for shard, left in ((Shard(0, 2), {young.name, ".other.tar"}), (None, {".other.tar"})):
        opened(tmp_path, "webdataset", resume=True, shard=shard).close(aborted=False)
        assert {one.name for one in folder.iterdir()} == left


def write_and_raise(sink, prediction, error):
    with sink:
        sink.write("a", "a", prediction)
        raise error


def test_ctrl_c_completes_the_part_and_a_full_disk_leaves_none(tmp_path, opened, prediction):
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(opened(tmp_path / "stopped", "webdataset"), prediction, KeyboardInterrupt())
    assert all_ids(tmp_path / "stopped")["depth"] == ["a"]
    with pytest.raises(ExportError, match="No space left"):
        write_and_raise(opened(tmp_path / "full", "webdataset"), prediction, ExportError("No space left on device"))
    assert files_in(tmp_path / "full") == ["da3-settings.json"]


def test_a_lost_list_of_ids_is_an_error(tmp_path, opened, prediction):
    with opened(tmp_path, "webdataset") as sink:
        sink.write("a", "a", prediction)
    (list_of_ids,) = tmp_path.glob("webdataset/_*")
    list_of_ids.unlink()
    with pytest.raises(InvalidInputError, match="missing or damaged"):
        opened(tmp_path, "webdataset", resume=True)


def test_what_cannot_be_packed_is_refused(tmp_path, opened):
    with pytest.raises(InvalidInputError, match="colmap has several"):
        opened(tmp_path, "webdataset", formats="colmap")
    with pytest.raises(InvalidInputError, match="pack='zip' is unknown; choose 'files', 'webdataset' or 'parquet'"):
        opened(tmp_path, "zip")
