"""The reports of several runs, summed up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depth_anything_3.errors import InputFileError, InvalidInputError
from depth_anything_3.jobs.manifest import Manifest, SourceFile
from depth_anything_3.jobs.report import ImageRecord, RunReport
from depth_anything_3.jobs.run_summary import summarize
from depth_anything_3.jobs.shards import Shard, parse_shard, report_path

IDS = [f"{number}.jpg" for number in range(20)]


def write_report(
    folder: Path, shard: str | None, minute: int, *, failed: tuple[str, ...] = (), ended: bool = True, **values: object
) -> RunReport:
    """A report whose images are those of its shard: written, but for those that failed or are left."""
    part = None if shard is None else parse_shard(shard)
    report = RunReport(shard=shard, total=len(IDS), wall_seconds=10.0, began=f"2026-11-28T10:{minute:02}:00.000000Z")
    report.ended = f"2026-11-28T10:{minute:02}:30.000000Z" if ended else ""
    for name, value in values.items():
        setattr(report, name, value)
    for one in IDS:
        if (part is not None and not part.contains(one)) or one in report.left.values():
            continue
        if one in failed:
            report.failures.append({"image": one, "error": f"{one}: damaged"})
            report.records.append(
                ImageRecord(source=one, status="failed", error_class="ImageDecodeError", error=f"{one}: damaged")
            )
        else:
            report.images += 1
            report.records.append(ImageRecord(source=one, status="written"))
    at = report_path(folder, part)
    at.parent.mkdir(parents=True, exist_ok=True)
    report.write(at)
    return report


def of_shard(text: str) -> list[str]:
    return [one for one in IDS if parse_shard(text).contains(one)]


def test_shards_in_several_folders_add_up(tmp_path):
    for index in range(3):
        write_report(tmp_path / f"machine{index % 2}", f"{index}/3", index)
    summary = summarize([tmp_path / "machine0", tmp_path / "machine1"])
    assert (summary.images, summary.expected, summary.missing, summary.reports) == (20, 20, 0, 3)
    assert summary.is_complete
    assert (summary.failures, summary.duplicates, summary.shards_without_report) == ([], [], [])
    assert summary.seconds == 30.0
    assert summary.elapsed_seconds == 150.0  # from 10:00:00 to 10:02:30
    assert summary.images_per_second == pytest.approx(20 / 150)
    assert json.loads(json.dumps(summary.as_dict()))["expected"] == 20


def test_failures_are_counted_by_cause_unless_a_later_run_completes_the_image(tmp_path):
    write_report(tmp_path, "0/2", 0, failed=tuple(of_shard("0/2")[:2]))
    write_report(tmp_path, "1/2", 0)
    summary = summarize([tmp_path])
    assert (summary.images, summary.failed, summary.is_complete) == (18, {"ImageDecodeError": 2}, False)
    assert [one["image"] for one in summary.failures] == of_shard("0/2")[:2]
    write_report(tmp_path, None, 5)
    summary = summarize([tmp_path])
    assert (summary.images, summary.failures, summary.expected) == (20, [], 20)
    assert sorted(summary.duplicates) == sorted({*IDS} - {*of_shard("0/2")[:2]})
    write_report(tmp_path, None, 6, failed=("3.jpg",))
    assert summarize([tmp_path]).failed == {"ImageDecodeError": 1}


def test_images_of_a_shard_without_report_are_missing(tmp_path):
    for index in (0, 2):
        write_report(tmp_path, f"{index}/3", index)
    summary = summarize([tmp_path])
    assert summary.shards_without_report == ["1/3"]
    assert (summary.missing, summary.expected, summary.missing_images) == (len(of_shard("1/3")), 20, [])
    for index in range(2):  # the same images, split in another way
        write_report(tmp_path, f"{index}/2", 9)
    summary = summarize([tmp_path])
    assert (summary.missing, summary.expected, summary.shards_without_report) == (0, 20, [])


def test_a_killed_run_has_written_what_its_manifest_says(tmp_path):
    first, *others = of_shard("0/2")
    left = {one.removesuffix(".jpg"): one for one in (first, *others)}
    report = write_report(tmp_path, "0/2", 0, left=left, ended=False, wall_seconds=0.0)
    write_report(tmp_path, "1/2", 0)
    (tmp_path / "npz").mkdir()
    manifest = Manifest(tmp_path, shard=Shard(0, 2))
    for one in (first, others[0]):
        name = one.removesuffix(".jpg")
        (tmp_path / "npz" / f"{name}.npz").write_bytes(b"depth")
        manifest.add("image", name, {}, [SourceFile(f"/photos/{one}")], [tmp_path / "npz" / f"{name}.npz"])
    (tmp_path / "npz" / f"{others[0].removesuffix('.jpg')}.npz").unlink()
    summary = summarize([tmp_path])
    assert summary.not_ended == [str(report_path(tmp_path, Shard(0, 2)))]
    assert sorted(summary.missing_images) == sorted(others)
    assert (summary.images, summary.missing, summary.expected) == (20 - len(others), len(others), 20)
    assert summary.seconds == 10.0
    report.began = "2999-01-01T00:00:00.000000Z"  # what an earlier run has written does not count
    report.write(report_path(tmp_path, Shard(0, 2)))
    assert summarize([tmp_path]).missing == len(left)


def test_a_stopped_run_says_what_it_has_not_reached(tmp_path):
    write_report(tmp_path, None, 0, left={"a": "5.jpg"}, stopped_by="Ctrl-C")
    summary = summarize([tmp_path])
    assert (summary.missing_images, summary.missing) == (["5.jpg"], 1)
    assert summary.stopped == {str(tmp_path / "report.json"): "Ctrl-C"}


def test_shards_that_found_different_images_are_noted(tmp_path):
    write_report(tmp_path, "0/2", 0)
    write_report(tmp_path, "1/2", 0, total=21)
    assert summarize([tmp_path]).totals == [20, 21]


def test_a_folder_without_or_with_a_damaged_report_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"has no report\.json and no reports of shards; give"):
        summarize([tmp_path])
    for content in ("{", "[]", '{"images": 3}', '{"images": 1, "failures": [], "records": [{"a": 1}]}'):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(InputFileError, match=r"report\.json: is not the report of a run \(.*\); delete it, or run"):
            summarize([tmp_path])


def test_reports_of_earlier_versions_are_read(tmp_path):
    values = RunReport(images=1, records=[ImageRecord(source="a.jpg", status="written")]).as_dict()
    for name in ("left", "shard", "total", "began", "ended"):
        del values[name]
    (tmp_path / "report.json").write_text(json.dumps(values))
    summary = summarize([tmp_path])
    assert (summary.images, summary.elapsed_seconds, summary.not_ended) == (1, 0.0, [])
