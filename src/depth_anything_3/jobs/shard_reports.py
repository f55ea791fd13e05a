"""Merge the reports of the shards of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.report import ImageRecord, RunReport

__all__ = ["add_reports", "add_written"]


def add_written(report: RunReport, manifest: Manifest, folder: Path) -> None:
    """Add to the report of a run that was killed what it has written by the manifest.

    Args:
        report: written when the run began.
        manifest: of the export folder; of a streamed run, that of its shard.
        folder: the export folder, for the paths of results.
    """
    if report.is_streamed:  # the manifest is that of its shard, and `left` is not known
        for own in manifest.records:
            if own.kind == "image" and own.written >= report.began and manifest.is_complete(own):
                files = [os.fspath(folder / one) for one in own.outputs]
                report.records.append(ImageRecord(source=own.sources[0].path, status="written", outputs=files))
                report.images += 1
    for name, source in list(report.left.items()):
        record = manifest.record("image", name)
        if record is not None and record.written >= report.began and manifest.is_complete(record):
            files = [os.fspath(folder / one) for one in record.outputs]
            report.records.append(ImageRecord(source=source, status="written", outputs=files))
            report.images += 1
            del report.left[name]


def add_reports(report: RunReport, parts: Iterable[RunReport], sources: Sequence[str]) -> None:
    """Add the reports of devices that computed at the same time.

    Args:
        report: of all devices; its `left` holds all images.
        parts: the reports.
        sources: the images, in the order of the records.
    """
    for one in parts:
        report.images += one.images
        report.skipped += one.skipped
        report.failures += one.failures
        report.records += one.records
        report.wall_seconds = max(report.wall_seconds, one.wall_seconds)
        report.network = report.network or one.network
        _add(report.stage_seconds, one.stage_seconds)
        _add(report.focal_lengths, one.focal_lengths)
        for strategy, reasons in one.strategies.items():
            _add(report.strategies.setdefault(strategy, {}), reasons)
    report.update_left()
    order = {source: place for place, source in enumerate(sources)}
    report.records.sort(key=lambda one: order.get(one.source, len(order)))
    report.failures.sort(key=lambda one: order.get(one["image"], len(order)))


def _add(sums: dict[str, float] | dict[str, int], more: Mapping[str, float] | Mapping[str, int]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0) + value  # type: ignore[assignment]
