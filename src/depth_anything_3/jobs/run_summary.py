"""Summarize the reports of several runs: the shards of a job, in one or several export folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.earlier_results import SHARDS
from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.shard_reports import add_written
from depth_anything_3.jobs.shards import Shard, parse_shard, report_path

__all__ = ["RunSummary", "reports_in", "summarize"]


@dataclass
class RunSummary:
    """What several runs have done together.

    Attributes:
        folders: export folders.
        reports: number of reports.
        images: images whose results are complete.
        written: images that these runs wrote; the other ones existed already.
        failed: number of images that failed, by the class of the error.
        failures: source, class and message of each image that failed, and that no later run has completed.
        missing: number of images that no run has reached.
        missing_images: those of them whose source is known; not those of a shard that has no report.
        duplicates: sources that more than one run wrote.
        shards_without_report: as "3/7"; they have not started, or wrote to other folders.
        not_ended: files of reports whose run goes on, or was killed.
        stopped: why runs ended early, by the file of the report.
        totals: numbers of images that the shards found; more than one if the source changed between them.
        seconds: time of all runs added up; excludes loading the model, and runs that have not ended.
        elapsed_seconds: from the beginning of the first run to the end of the last one.
    """

    folders: list[str]
    reports: int = 0
    images: int = 0
    written: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    missing: int = 0
    missing_images: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    shards_without_report: list[str] = field(default_factory=list)
    not_ended: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    seconds: float = 0.0
    elapsed_seconds: float = 0.0

    @property
    def expected(self) -> int:
        """All images: complete, failed and missing."""
        return self.images + len(self.failures) + self.missing

    @property
    def images_per_second(self) -> float:
        """Images written per second of elapsed time."""
        return self.written / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether no image failed or is missing."""
        return not self.failures and not self.missing

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return all fields as plain JSON values."""
        return {**asdict(self), "expected": self.expected, "images_per_second": self.images_per_second}


def summarize(folders: Sequence[Path]) -> RunSummary:
    """Merge the reports in export folders: `report.json`, and those of shards.

    An image is complete if any run has written it or found it complete, and no later run failed on it. What a run that
    was killed has written is taken from the manifest.

    Raises:
        InvalidInputError: a folder has no report, or a manifest is damaged.
        InputFileError: a report cannot be read.
    """
    reports = {file: report for folder in folders for file, report in _read_reports(folder)}
    summary = RunSummary(folders=list(map(str, folders)), reports=len(reports))
    ordered = sorted(reports.values(), key=lambda one: one.began)
    complete, failures, left = _outcomes(ordered)
    summary.images, summary.failures = len(complete), list(failures.values())
    summary.failed = dict(Counter(one["error_class"] for one in failures.values()).most_common())
    summary.missing_images = list(left)
    summary.missing = len(left) + _add_shards(summary, ordered)
    writers = Counter(one.source for report in ordered for one in report.records if one.status == "written")
    summary.written, summary.duplicates = writers.total(), [source for source, count in writers.items() if count > 1]
    for file, report in reports.items():
        if report.began and not report.ended:
            summary.not_ended.append(str(file))
        elif report.stopped_by:
            summary.stopped[str(file)] = report.stopped_by
    ended = [one for one in ordered if one.ended]
    summary.seconds = sum(one.wall_seconds for one in ended)
    if ended:
        began, last = min(one.began for one in ended), max(one.ended for one in ended)
        summary.elapsed_seconds = (_time(last) - _time(began)).total_seconds()
    return summary


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z"))  # Python 3.10 does not know the Z


def reports_in(folder: Path) -> list[Path]:
    """List the files of reports in an export folder."""
    files = [report_path(folder), *sorted((folder / SHARDS).glob("report-*.json"))]
    return [one for one in files if one.is_file()]


def _read_reports(folder: Path) -> list[tuple[Path, RunReport]]:
    reports = [(file, RunReport.read(file)) for file in reports_in(folder)]
    if not reports:
        raise InvalidInputError(
            f"{folder}: has no report.json and no reports of shards; give the output folder of da3 images"
        )
    if any(report.left and not report.ended for _, report in reports):
        manifest = Manifest(folder)
        for _, report in reports:
            if not report.ended:
                add_written(report, manifest, folder)
    return reports


def _outcomes(reports: Sequence[RunReport]) -> tuple[set[str], dict[str, dict[str, str]], dict[str, None]]:
    """Return the images that are complete, those that failed, and those that are left, by the latest report of each."""
    complete: set[str] = set()
    failures: dict[str, dict[str, str]] = {}
    for report in reports:
        for one in report.records:
            if one.status == "failed":
                complete.discard(one.source)
                failures[one.source] = {"image": one.source, "error_class": one.error_class, "error": one.error}
            else:
                failures.pop(one.source, None)
                complete.add(one.source)
    left = {source: None for report in reports for source in report.left.values()}
    return complete, failures, {one: None for one in left if one not in complete and one not in failures}


def _add_shards(summary: RunSummary, reports: Sequence[RunReport]) -> int:
    """Note the shards without report; return how many images they have."""
    groups: dict[int, dict[int, RunReport]] = {}  # by count and index
    for report in reports:
        if report.shard is not None:
            shard = parse_shard(report.shard)
            groups.setdefault(shard.count, {})[shard.index] = report
    totals = {count: max(one.total or 0 for one in group.values()) for count, group in groups.items()}
    whole = {totals[count] for count, group in groups.items() if len(group) == count}
    whole |= {one.total for one in reports if one.shard is None and one.total is not None}
    missing = 0
    for count, group in groups.items():
        seen = sorted({one.total for one in group.values() if one.total is not None})
        summary.totals += [one for one in seen if len(seen) > 1]
        if totals[count] in whole:  # this run, or one that split the same images in another way
            continue
        summary.shards_without_report += [str(Shard(one, count)) for one in range(count) if one not in group]
        missing += max(0, totals[count] - sum(len(one.records) + len(one.left) for one in group.values()))
    return missing
