"""Compute depth of stored images on a Ray cluster."""

from __future__ import annotations

import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.jobs.cluster.blocks import ListedImage, block_size, make_blocks
from depth_anything_3.jobs.cluster.worker import BlockResult, BlockWorker, Described, WorkerJob, describe
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress
from depth_anything_3.jobs.sinks.open import open_sink
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.jobs.sinks.sink import Sink
from depth_anything_3.jobs.sources.find import find_stored
from depth_anything_3.jobs.stored import report_file
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.runtime.pool import Pool, Workers
from depth_anything_3.runtime.ray_cluster import Cluster

__all__ = ["ClusterReport", "WorkerRecord", "parse_workers", "run_on_cluster"]

logger = logging.getLogger(__name__)

_ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")  # no credentials
_MAX_CPUS = 8  # of a worker with a GPU


@dataclass
class WorkerRecord:
    """What a process of the cluster has done.

    Attributes:
        worker: host and process.
        images, failed: numbers of images.
        seconds: of computing and encoding; excludes start, and waiting for the store.
        images_per_second: written, per second of `seconds`.
    """

    worker: str
    images: int = 0
    failed: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0


@dataclass
class ClusterReport(RunReport):
    """The report of a run on a cluster.

    Attributes:
        workers: one for each process that computed something.
        error_classes: number of images that failed, by the class of the error.
    """

    workers: list[WorkerRecord] = field(default_factory=list)
    error_classes: dict[str, int] = field(default_factory=dict)


def parse_workers(text: str, gpus_per_worker: float | None, cluster: Cluster) -> Workers:
    """Choose the pool of workers.

    Args:
        text: MIN:MAX or MAX; empty: as many as the cluster has GPUs, or without GPUs cores, for.
        gpus_per_worker: GPUs of each; a fraction shares a GPU. None: one, if the cluster has GPUs.
        cluster: the cluster.

    Raises:
        InvalidInputError: a value is not accepted.
    """
    nodes = cluster.nodes()
    cpus, gpus = sum(one.cpus for one in nodes), sum(one.gpus for one in nodes)
    each = (1.0 if gpus else 0.0) if gpus_per_worker is None else gpus_per_worker
    if each < 0 or (each > 1 and each != int(each)):
        raise InvalidInputError(f"gpus_per_worker={each}: give a fraction of one GPU, or a whole number; 0 for none")
    if each > gpus:
        logger.warning("the cluster has %g GPUs; workers wait until a node with %g is added", gpus, each)
    fit = int(gpus / each) if each else int(cpus)
    least, _, most = text.rpartition(":")
    try:
        lowest = int(least) if least else 1
        highest = int(most) if most else max(lowest, fit)
    except ValueError:
        lowest = highest = 0
    if not 1 <= lowest <= highest:
        raise InvalidInputError(f"workers={text!r}: give the least and most workers as MIN:MAX, such as 1:8")
    cores = max(1, min(_MAX_CPUS, int(cpus / max(1, fit)))) if each else 1
    return Workers(lowest, highest, cores, each)


def run_on_cluster(
    pool: Pool,
    workers: Workers,
    sources: Sequence[str],
    job: WorkerJob,
    *,
    on_progress: OnProgress = no_progress,
    on_loaded: Callable[[ModelCard], None] = lambda card: None,
) -> ClusterReport:
    """Compute depth of stored images on a cluster, or on the devices of this machine.

    Workers read, compute and write blocks of images; only names and counts travel between processes. A block whose
    worker is lost is computed anew, and replaces the same part: no result is there twice.

    Args:
        pool: the cluster, or the devices.
        workers: its processes.
        sources: see `find_stored`. Each image is an image of a block; each tar or parquet file is a block.
        job: what the workers do. Its threads are set here.
        on_progress: called once for each image that was written, failed or skipped.
        on_loaded: called once, when the first worker has loaded the network.

    Raises:
        InvalidInputError: earlier results have other settings, see `open_sink`.
        DeviceError: all workers are lost, or the cluster failed or came to a standstill.
        DA3Error: that of a worker: the network cannot be loaded, or a result cannot be written.
    """
    job = replace(
        job,
        threads=int(workers.cpus),
        environment={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )
    images = find_stored(sources, replace(job.sources, opens_archives=False))  # misuse is reported first
    described: Described = pool.call(partial(describe, job), workers)
    on_loaded(described.card)
    place, report = place_of(job.export_dir), ClusterReport(network=described.card.name)
    report.export_dir, report.device, report.is_streamed = place.name, pool.describe(workers), True
    with report_file(place, report):
        sink = open_sink(
            place,
            job.destination.parsed_formats,
            job.destination.options,
            described.settings,
            job.sink,
            has_manifest=False,
        )
        with sink:
            listing = _Listing(sink, report, on_progress)
            for one in images:
                listing.add(one)
            size = min(block_size(len(listing.images), workers.most), job.sink.part_size)  # a part a block
            blocks = make_blocks(listing.images, listing.archives, size)
            ids = {one.index: tuple(image.id for image in one.images) for one in blocks}
            complete = pool.shared(sink.complete) if listing.archives else frozenset
            make = partial(BlockWorker, job, described.settings, uuid.uuid4().hex[:8], complete)
            for result in pool.map(make, blocks, workers):
                _take(result, report, on_progress)
                done = ids[result.index] or result.ids
                sink.note(done)
                listing.check_archive(result.ids)
            report.total = report.images + report.skipped + len(report.failures)
    return report


@dataclass
class _Listing:
    """Lists what is to compute, and notes what is done or fails already."""

    sink: Sink
    report: ClusterReport
    on_progress: OnProgress
    images: list[ListedImage] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(self, image: Any) -> None:  # Any: a StoredImage
        """Add an image or archive."""
        if image.is_archive:
            self.archives.append(image.address)
        elif image.id in self._ids:
            error = InvalidInputError(
                f"{image.label}: has the id {image.id!r} of an earlier image; ids name the results. Give another "
                "id_column, or run the sources one by one into folders of their own"
            )
            self._fail(f"{image.id}~{len(self._ids)}~{image.label}", image.label, error)
        else:
            self._ids.add(image.id)
            if isinstance(image.data, DA3Error):
                self._fail(image.id, image.label, image.data)
            elif self.sink.is_done(image.id, image.label):
                self.report.skipped += 1
                self.on_progress(len(self.report.failures))
            else:
                self.images.append(ListedImage(image.id, image.label, image.address))

    def check_archive(self, ids: Sequence[str]) -> None:
        """Warn about ids of an archive that other sources have too: there are two results."""
        if twice := self._ids.intersection(ids):
            logger.warning(
                "%d images of two sources have the same id, such as %r; both have results", len(twice), min(twice)
            )
        self._ids.update(ids)

    def _fail(self, id: str, label: str, error: DA3Error) -> None:
        self.sink.fail(id, error)
        self.report.add_failure(label, error, id=id)
        _count_error(self.report, type(error).__name__)
        self.on_progress(len(self.report.failures))


def _take(result: BlockResult, report: ClusterReport, on_progress: OnProgress) -> None:
    """Add what became of a block."""
    own = result.report
    report.images += own.images
    report.skipped += own.skipped
    failures = [one for one in own.records if one.status == "failed"]
    report.failures += own.failures
    report.records += failures
    for one in failures:
        _count_error(report, one.error_class)
    for stage, seconds in own.stage_seconds.items():
        report.stage_seconds[stage] = report.stage_seconds.get(stage, 0.0) + seconds
    for name, reasons in own.strategies.items():
        mine = report.strategies.setdefault(name, {})
        report.strategies[name] = dict(Counter(mine) + Counter(reasons))
    report.focal_lengths = dict(Counter(report.focal_lengths) + Counter(own.focal_lengths))
    worker = next((one for one in report.workers if one.worker == result.worker), None)
    if worker is None:
        worker = WorkerRecord(result.worker)
        report.workers.append(worker)
    worker.images += own.images
    worker.failed += len(own.failures)
    worker.seconds += result.seconds
    worker.images_per_second = worker.images / worker.seconds if worker.seconds else 0.0
    for _ in range(own.images + own.skipped + len(own.failures)):
        on_progress(len(report.failures))


def _count_error(report: ClusterReport, name: str) -> None:
    report.error_classes[name] = report.error_classes.get(name, 0) + 1
