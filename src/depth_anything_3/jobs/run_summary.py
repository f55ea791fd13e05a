"""Summarize the reports of several runs: the shards of a job, in one or several export folders."""

from __future__ import annotations

import re
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
from depth_anything_3.jobs.shards import Shard, parse_shard, report_name, report_path
from depth_anything_3.jobs.sinks.place import LocalPlace, Place, place_of
from depth_anything_3.jobs.sinks.stored_results import StoredResults, results_in

__all__ = ["RunSummary", "reports_in", "summarize"]

_REPORT = re.compile(rf"{SHARDS}/report-\d+-of-\d+\.json")


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
        missing: number of images that no run has reached; the known ones.
        missing_images: those of them whose source is known; not those of a shard that has no report.
        duplicates: sources that more than one run wrote.
        shards_without_report: as "3/7"; they have not started, or wrote to other folders.
        not_ended: files of reports whose run goes on, or was killed.
        stopped: why runs ended early, by the file of the report.
        totals: numbers of images that the shards found; more than one if the source changed between them.
        is_listed: whether a run has listed all images; if not, more may be missing.
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
    is_listed: bool = True
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
        """Whether it is known that no image failed or is missing."""
        return not self.failures and not self.missing and self.is_listed

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return all fields as plain JSON values."""
        return {**asdict(self), "expected": self.expected, "images_per_second": self.images_per_second}


def summarize(folders: Sequence[str | Path]) -> RunSummary:
    """Merge the reports in export folders or prefixes of stores: `report.json`, and those of shards.

    An image is complete if any run has written it or found it complete, and no later run failed on it. What a run that
    was killed has written is taken from the manifest. Of packed results and of files in a store, what is there is
    complete.

    Raises:
        InvalidInputError: a folder has no report, or a manifest or the list of a part is damaged.
        InputFileError: a report cannot be read.
        ImageReadError: a store refuses.
    """
    places = [place_of(str(one)) for one in folders]
    reports = {file: report for place in places for file, report in _read_reports(place)}
    stored = [found for place in places if (found := results_in(place)) is not None]
    summary = RunSummary(folders=[one.name for one in places], reports=len(reports))
    ordered = sorted(reports.values(), key=lambda one: one.began)
    complete, failures, left = _outcomes(ordered, stored)
    counts = Counter[str]()
    for one in stored:
        counts += one.counts
    summary.images, summary.failures = len(complete) + len(counts), list(failures.values())
    summary.failed = dict(Counter(one["error_class"] for one in failures.values()).most_common())
    summary.missing_images = list(left)
    summary.missing = len(left) + _add_shards(summary, ordered)
    if any(one.is_streamed for one in ordered):
        _add_streamed(summary, ordered)
    writers = Counter(one.source for report in ordered for one in report.records if one.status == "written")
    duplicates = counts if stored else writers
    summary.duplicates = [name for name, count in duplicates.items() if count > 1]
    summary.written = sum(one.images for one in ordered)
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


def _add_streamed(summary: RunSummary, reports: Sequence[RunReport]) -> None:
    """Count the missing images of runs that have listed the images while others were computed."""
    totals = [one.total for one in reports if one.is_streamed and one.total is not None]
    summary.is_listed = bool(totals)
    summary.missing = max(0, max(totals, default=0) - summary.images - len(summary.failures))


def reports_in(folder: Path) -> list[Path]:
    """List the files of reports in an export folder."""
    files = [report_path(folder), *sorted((folder / SHARDS).glob("report-*.json"))]
    return [one for one in files if one.is_file()]


def _read_reports(place: Place) -> list[tuple[str, RunReport]]:
    if isinstance(place, LocalPlace):
        reports = [(str(file), RunReport.read(file)) for file in reports_in(place.folder)]
    else:
        names = sorted(one for one in place.names() if one == report_name() or _REPORT.fullmatch(one))
        files = {f"{place.name.rstrip('/')}/{one}": place.read(one) or b"" for one in names}
        reports = [(file, RunReport.parse(content, file)) for file, content in files.items()]
    if not reports:
        raise InvalidInputError(
            f"{place.name}: has no report.json and no reports of shards; give the output folder of da3 images"
        )
    if isinstance(place, LocalPlace):
        _complete(place.folder, [one for _, one in reports if not one.ended])
    return reports


def _complete(folder: Path, killed: Sequence[RunReport]) -> None:
    """Add to reports what their runs have written by the manifest."""
    if any(one.left for one in killed):
        manifest = Manifest(folder)
        for one in killed:
            add_written(one, manifest, folder)
    for one in killed:
        if one.is_streamed and one.shard is not None:
            add_written(one, Manifest(folder, shard=parse_shard(one.shard), others=False), folder)


def _outcomes(
    reports: Sequence[RunReport], stored: Sequence[StoredResults]
) -> tuple[set[str], dict[str, dict[str, str]], dict[str, None]]:
    """Return the images that are complete, those that failed, and those that are left, by the latest report of each."""
    complete: set[str] = set()
    failures: dict[str, dict[str, str]] = {}
    for report in reports:
        for one in report.records:
            if one.status == "failed" and any(one.id in results for results in stored):
                failures.pop(one.source, None)  # another run has completed it
            elif one.status == "failed":
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
