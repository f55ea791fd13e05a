"""Compute blocks of images in a process of a cluster, and write their results."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.jobs.cluster.blocks import Block
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.manifest import Settings
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.sinks.open import open_block_sink
from depth_anything_3.jobs.sinks.place import place_of
from depth_anything_3.jobs.sinks.sink import SinkOptions
from depth_anything_3.jobs.sources.find import SourceOptions
from depth_anything_3.jobs.sources.read_ahead import read_ahead
from depth_anything_3.jobs.sources.stored_image import StoredImage
from depth_anything_3.jobs.stored import compute_into, stored_settings
from depth_anything_3.model.catalog import ModelCard

__all__ = ["BlockResult", "BlockWorker", "Described", "WorkerJob", "describe"]


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """What the workers of a run have in common; all of it can be pickled, and none of it is large.

    Attributes:
        load: returns the network on a device.
        device: name of the device.
        threads: of torch on a CPU, and of decoding.
        destination, options, sources: of the run.
        export_dir: folder or address.
        sink: of the run.
        environment: variables that a worker takes over where it has none of its own.
    """

    load: Callable[[str], Engine]
    device: str
    threads: int
    destination: Destination
    options: StreamOptions
    sources: SourceOptions
    export_dir: str
    sink: SinkOptions
    environment: Mapping[str, str] = field(default_factory=dict)

    def engine(self) -> Engine:
        """Load the network.

        Raises:
            DA3Error: it cannot be loaded.
        """
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        torch.set_num_threads(self.threads)
        return self.load(self.device)

    @property
    def worker_options(self) -> StreamOptions:
        """The options, with no more threads than a worker has cores."""
        preprocess = self.options.preprocess
        workers = min(preprocess.num_workers, self.threads)
        return replace(self.options, preprocess=replace(preprocess, num_workers=workers))


@dataclass(frozen=True)
class Described:
    """What a worker computes.

    Attributes:
        card: the model.
        settings: what the results depend on.
    """

    card: ModelCard
    settings: Settings


def describe(job: WorkerJob) -> Described:
    """Load the network once, where workers run, and check that it computes what the run needs.

    Raises:
        DA3Error: see `stored_settings`.
    """
    engine = job.engine()
    return Described(engine.card, stored_settings(engine, job.destination, job.worker_options))


@dataclass(frozen=True)
class BlockResult:
    """What became of a block.

    Attributes:
        index: of the block.
        worker: name of the process.
        seconds: of computing and encoding.
        report: counts, failures and times.
        ids: of the images of an archive.
    """

    index: int
    worker: str
    seconds: float
    report: RunReport
    ids: tuple[str, ...] = ()


class BlockWorker:
    """Computes blocks: while one is computed, another thread reads or writes the next.

    Args:
        job: of all workers.
        settings: those of the first worker; results of others must not be mixed with these.
        token: of the run, in the names of parts.
        complete: returns what is complete; only archives ask.

    Raises:
        UnsupportedError: this machine computes with other settings, such as another dtype.
        DA3Error: the network cannot be loaded.
    """

    def __init__(
        self, job: WorkerJob, settings: Settings, token: str, complete: Callable[[], frozenset[str]] = frozenset
    ) -> None:
        self._job, self._settings, self._token, self._get_complete = job, settings, token, complete
        self._engine = job.engine()
        self._lock = threading.Lock()
        self._place = place_of(job.export_dir)
        self._complete: frozenset[str] | None = None
        self.name = f"{platform.node()}:{os.getpid()}"
        own = stored_settings(self._engine, job.destination, job.worker_options)
        if different := [name for name in {**own, **settings} if own.get(name) != settings.get(name)]:
            name = different[0]
            raise UnsupportedError(
                f"{platform.node()}: computes with {name} {own.get(name)!r}, the first worker with "
                f"{settings.get(name)!r}; results would differ. Give dtype='float32', or use nodes or "
                "devices of one kind; da3 doctor --cluster compares nodes"
            )

    def __call__(self, block: Block) -> BlockResult:
        """Compute a block and write its results.

        Raises:
            ExportError: a result cannot be written.
            DA3Error: with `on_error` "raise", that of an image; or the device failed.
        """
        job, ids = self._job, []  # type: tuple[WorkerJob, list[str]]

        def noted(images: Iterable[StoredImage]) -> Iterable[StoredImage]:
            for one in images:
                ids.append(one.id)
                yield one

        images = block.read(job.sources)
        # Of an archive of any size, only a few images are in memory.
        given = noted(images) if block.archive else list(read_ahead(images))
        report = RunReport(export_dir=self._place.name)
        sink = open_block_sink(
            self._place,
            job.destination,
            self._engine.card.name,
            job.sink,
            token=self._token,
            number=block.first_part,
            complete=self._known() if block.archive else frozenset(),
        )
        aborted = True
        try:
            with self._lock:
                began = time.perf_counter()
                compute_into(sink, self._engine, given, job.destination, job.worker_options, report)
                seconds = time.perf_counter() - began
            aborted = False
        finally:  # a block that fails writes no part: it is computed anew
            sink.close(aborted=aborted)
        return BlockResult(block.index, self.name, seconds, report, tuple(ids))

    def _known(self) -> frozenset[str]:
        if self._complete is None:
            self._complete = self._get_complete()
        return self._complete
