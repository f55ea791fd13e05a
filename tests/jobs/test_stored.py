"""Runs over stored images: what comes out, which images fail, and what is skipped."""

from __future__ import annotations

import json
import uuid

import fsspec
import pytest

from depth_anything_3.errors import ImageDecodeError, InvalidInputError
from depth_anything_3.export import ExportOptions
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.run_summary import summarize
from depth_anything_3.jobs.shards import Shard, report_path
from depth_anything_3.jobs.sinks import SinkOptions
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.jobs.sources.find import SourceOptions, find_stored
from depth_anything_3.jobs.sources.selection import Selection
from depth_anything_3.jobs.stored import run_stored
from support.images import encoded, write
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8
from support.tars import read_tar, write_tar

SMALL = {"process_res": 56, "num_workers": 2}


@pytest.fixture(scope="module")
def pngs():
    return [encoded(one, "PNG") for one in seeded_images_uint8(3, 42, 56, seed=3)]


@pytest.fixture
def tar(pngs, tmp_path):
    """Three images, the second of them damaged, and one whose id was there."""
    members = [("0.png", pngs[0]), ("1.png", pngs[1][:60]), ("2.png", pngs[2]), ("0.jpg", pngs[1])]
    return write_tar(tmp_path / "in.tar", members)


def run(model, source, out, *, formats="depth_png", on_progress=lambda failed: None, sink=None, **options):
    parsed = StreamOptions.parse({"on_error": "skip", **SMALL, **options}, caller=run)
    return run_stored(
        model.engine,
        find_stored([str(source)]),
        place_of(str(out)),
        Destination(folder=out, formats=formats),
        parsed,
        sink or SinkOptions(),
        on_progress=on_progress,
    )


def test_images_of_a_tar_have_the_results_of_files(seeded_small, pngs, tar, tmp_path):
    steps = []
    report = run(seeded_small, tar, tmp_path / "out", on_progress=steps.append)
    assert (report.images, len(steps)) == (2, 4)
    damaged, double = report.failures
    assert damaged["image"] == f"{tar}/1.png"
    assert "has the id '0' of an earlier image" in double["error"]
    (tmp_path / "in").mkdir()
    files = [write(tmp_path / "in" / f"{index}.png", pngs[index]) for index in (0, 2)]
    run_images(seeded_small, files, tmp_path / "expected", "depth_png", **SMALL)
    for name in ("0.png", "2.png"):
        own, expected = (tmp_path / folder / "depth_png" / name for folder in ("out", "expected"))
        assert own.read_bytes() == expected.read_bytes()
    records = json.loads((tmp_path / "out" / "report.json").read_text())["records"]
    assert [one["status"] for one in records] == ["written", "failed", "written", "failed"]


def test_a_resumed_run_computes_what_is_missing(seeded_small, tar, tmp_path):
    out = tmp_path / "out"
    run(seeded_small, tar, out)
    (out / "depth_png" / "2.png").unlink()
    report = run(seeded_small, tar, out, sink=SinkOptions(resume=True))
    assert (report.images, report.skipped, len(report.failures)) == (1, 1, 2)
    with pytest.raises(InvalidInputError, match="process_res=56, now 70"):
        run(seeded_small, tar, out, sink=SinkOptions(resume=True), process_res=70)


def test_an_error_stops_the_run_and_keeps_what_was_written(seeded_small, tar, tmp_path):
    packed = SinkOptions(pack="webdataset")
    with pytest.raises(ImageDecodeError, match=r"in\.tar/1\.png"):
        run(seeded_small, tar, tmp_path / "out", on_error="raise", sink=packed)
    (part,) = (tmp_path / "out" / "webdataset").glob("*.tar")
    assert list(read_tar(part)) == ["0.depth.png", "0.json"]
    assert "1.png" in json.loads((tmp_path / "out" / "report.json").read_text())["stopped_by"]


def test_from_a_store_to_a_store(seeded_small, pngs):
    prefix = f"memory://{uuid.uuid4().hex}"
    store = fsspec.filesystem("memory")
    for index, png in enumerate(pngs):
        store.pipe_file(f"{prefix}/in/{index}.png", png)
    report = run(seeded_small, f"{prefix}/in", f"{prefix}/out", output_size="input")
    assert (report.images, report.failures, report.export_dir) == (3, [], f"{prefix}/out")
    names = {one.partition("/out/")[2] for one in store.find(f"{prefix}/out")}
    assert names == {"da3-settings.json", "report.json", *(f"depth_png/{index}.png.png" for index in range(3))}
    assert json.loads(store.cat_file(f"{prefix}/out/report.json"))["images"] == 3


def run_shard(model, source, out, shard, **options):
    selection = Selection(shard)
    return run_stored(
        model.engine,
        find_stored([str(source)], SourceOptions(selection=selection)),
        place_of(str(out)),
        Destination(folder=out, formats="depth_png"),
        StreamOptions.parse({"on_error": "skip", **SMALL}, caller=run),
        SinkOptions(shard=shard, **options),
        selection=selection,
    )


@pytest.mark.parametrize("where", ["disk", "store"])
def test_shards_write_to_one_place_what_one_run_writes(seeded_small, pngs, tmp_path, where):
    names = [f"{index}.png" for index in range(4)]
    source = write_tar(tmp_path / "in.tar", [*zip(names, [*pngs, pngs[0][:60]], strict=True)])
    out = tmp_path / "out" if where == "disk" else f"memory://{uuid.uuid4().hex}"
    reports = [run_shard(seeded_small, source, out, one) for one in Shard(0, 1).split(2)]
    assert [(one.shard, one.total) for one in reports] == [("0/2", 4), ("1/2", 4)]
    assert sum(one.images for one in reports) == 3
    summary = summarize([out])
    assert (summary.images, summary.failed, summary.missing) == (3, {"ImageDecodeError": 1}, 0)
    again = [run_shard(seeded_small, source, out, one, resume=True) for one in Shard(0, 1).split(3)]
    assert [sum(getattr(one, what) for one in again) for what in ("images", "skipped")] == [0, 3]
    assert summarize([out]).images == 3


def test_a_killed_shard_has_written_what_its_manifest_says(seeded_small, tar, tmp_path):
    shard = Shard(0, 1)
    run_shard(seeded_small, tar, tmp_path / "out", shard)
    file = report_path(tmp_path / "out", shard)
    report = json.loads(file.read_text())
    file.write_text(json.dumps({**report, "images": 0, "records": [], "failures": [], "total": None, "ended": ""}))
    summary = summarize([tmp_path / "out"])
    assert (summary.images, summary.is_listed, summary.is_complete) == (2, False, False)


def test_a_shared_range_is_refused(seeded_small, tar, tmp_path):
    destination = Destination(folder=tmp_path, formats="depth_vis", options=ExportOptions(shared_range=True))
    with pytest.raises(InvalidInputError, match="shared_range=True needs all images"):
        run_stored(seeded_small.engine, iter(()), place_of(str(tmp_path)), destination, StreamOptions(), SinkOptions())
