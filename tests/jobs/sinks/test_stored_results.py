"""The summary of runs whose results are packed, or files in a store: what is there is complete."""

from __future__ import annotations

import uuid

import fsspec
import pytest

from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.run_summary import summarize
from depth_anything_3.jobs.shards import Shard, report_name
from depth_anything_3.jobs.sinks.place import place_of

IDS = [f"room/{number}.jpg" for number in range(10)]
FIRST, SECOND = Shard(0, 2), Shard(1, 2)


@pytest.fixture(params=["packed", "packed in a store", "files in a store"])
def place(request, tmp_path):
    pack = "files" if request.param == "files in a store" else "webdataset"
    return (tmp_path / "out" if request.param == "packed" else f"memory://{uuid.uuid4().hex}/out"), pack


@pytest.fixture
def compute(place, opened, prediction):
    """Writes what a shard writes: results, but for the images that fail, and the report."""
    out, pack = place

    def run(shard, *, failing=(), killed_after=None, resume=False):
        report = RunReport(shard=str(shard), is_streamed=True, began=f"2026-11-28T10:00:0{int(resume)}Z")
        own = [one for one in IDS if shard.contains(one)][:killed_after]
        with opened(out, pack, shard=shard, resume=resume, part_size=2) as sink:
            for id in (one for one in own if not sink.is_done(one, one)):
                if id in failing:
                    sink.fail(id, ValueError("no"))
                    report.add_failure(f"s3://in/{id}", ValueError("no"), id=id)
                else:
                    sink.write(id, id, prediction)
                    report.images += 1
        if killed_after is None:
            report.total, report.ended = len(IDS), "2026-11-28T10:01:00Z"
        else:  # the report of its beginning
            report.images = 0
        with place_of(str(out)).writing(report_name(shard)) as file:
            report.write(file)

    return run


def test_shards_that_failed_were_killed_and_resumed(place, compute):
    out, _ = place
    own = [[one for one in IDS if shard.contains(one)] for shard in (FIRST, SECOND)]
    compute(FIRST, killed_after=1)
    summary = summarize([out])
    assert (summary.images, summary.is_listed, summary.is_complete) == (1, False, False)
    compute(SECOND, failing=own[1][:2])
    summary = summarize([out])
    assert (summary.images, summary.failed, summary.expected) == (len(own[1]) - 1, {"ValueError": 2}, 10)
    assert summary.missing == len(own[0]) - 1
    assert [one.rpartition("/")[2] for one in summary.not_ended] == ["report-0-of-2.json"]
    for shard in Shard(0, 1).split(3):
        compute(shard, resume=True)
    summary = summarize([out])
    assert (summary.images, summary.failures, summary.missing, summary.duplicates) == (10, [], 0, [])
    assert (summary.is_complete, summary.written) == (True, 9)  # without that of the killed one


def test_reports_in_a_store_that_are_missing_or_damaged():
    address = f"memory://{uuid.uuid4().hex}/out"
    with pytest.raises(InvalidInputError, match=rf"{address}: has no report\.json"):
        summarize([address])
    fsspec.filesystem("memory").pipe_file(f"{address}/report.json", b"{}")
    with pytest.raises(InputFileError, match=rf"{address}/report\.json: is not the report of a run"):
        summarize([address])
