"""Define `da3 report`, which sums up the reports of shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import EXIT_FAILURES, escape_message, stderr, stdout
from depth_anything_3.cli.images import images
from depth_anything_3.cli.messages import flags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from depth_anything_3.jobs.run_summary import RunSummary

__all__ = ["report"]

_MAX_LISTED = 10


def report(
    folders: Annotated[
        list[str], typer.Argument(help="Output folders of da3 images, or prefixes of object stores.", metavar="DIR")
    ],
    as_json: o.Json = False,
) -> None:
    """Sum up the reports in output folders: images complete, failed by cause, missing, computed twice; and the time.

    It merges report.json and the reports of shards, and takes from the manifest what killed runs have written. The exit
    code is 1 if an image failed or is missing.
    """
    from depth_anything_3.jobs.run_summary import summarize

    summary = summarize(folders)
    if as_json:
        stdout.print_json(json.dumps(summary.as_dict()))
    else:
        flags = flags_of([images])
        for one in summary.failures[:_MAX_LISTED]:
            stderr.print_error(f"[red]failed:[/] {escape_message(one['error'], flags)}")
        if len(summary.failures) > _MAX_LISTED:
            stderr.print(f"and {len(summary.failures) - _MAX_LISTED:,} more; --json lists all")
        for line in _lines(summary):
            stdout.print(escape_message(line))
    if not summary.is_complete:
        raise typer.Exit(EXIT_FAILURES)


def _lines(summary: RunSummary) -> Iterator[str]:
    reports = f"{summary.reports:,} report{'s' * (summary.reports != 1)}"
    yield f"{summary.images:,} of {summary.expected:,} images complete, by {reports}"
    if summary.failures:
        causes = ", ".join(f"{name} {count:,}" for name, count in summary.failed.items())
        yield f"failed: {len(summary.failures):,} ({causes})"
    if summary.missing:
        some = ", ".join(summary.missing_images[:_MAX_LISTED])
        more = ", ..." if summary.missing > min(_MAX_LISTED, len(summary.missing_images)) else ""
        yield f"missing: {summary.missing:,}" + (f" ({some}{more})" if some else "")
    if not summary.is_listed:
        yield "missing: not known, since no run has listed all images"
    if summary.shards_without_report:
        some = ", ".join(summary.shards_without_report[:_MAX_LISTED])
        more = ", ..." if len(summary.shards_without_report) > _MAX_LISTED else ""
        yield f"no report of shard {some}{more}: not started, or written to another folder"
    for file in summary.not_ended:
        yield f"{file}: the run goes on, or was killed"
    for file, why in summary.stopped.items():
        yield f"{file}: the run was stopped: {why}"
    if summary.totals:
        counts = ", ".join(f"{one:,}" for one in summary.totals)
        yield f"the shards found different numbers of images ({counts}): the source changed between them"
    if summary.duplicates:
        yield f"computed by more than one run: {len(summary.duplicates):,}"
    yield (
        f"{summary.written:,} images written in {summary.seconds:.2f} s of all runs added up; "
        f"{summary.elapsed_seconds:.2f} s from the first to the last moment ({summary.images_per_second:.2f} images/s)"
    )
