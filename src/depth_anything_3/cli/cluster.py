"""Define the flags of a run on a Ray cluster, for `da3 images`, and compute stored images in several processes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.cli.console import stdout
from depth_anything_3.cli.progress import progress
from depth_anything_3.cli.splitting import SplitFlags, engine_loader
from depth_anything_3.cli.stored import PACKED_FORMAT, StoredRun, StoreFlags
from depth_anything_3.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from depth_anything_3.cli import options as o
    from depth_anything_3.jobs.cluster.job import ClusterReport
    from depth_anything_3.model.catalog import ModelCard
    from depth_anything_3.runtime.pool import Pool, Workers

__all__ = ["ClusterFlags", "compute_in_processes", "print_workers"]


@dataclass(frozen=True)
class ClusterFlags:
    """The cluster that computes, and its workers."""

    panel: ClassVar[str] = "Performance"

    cluster: Annotated[
        str,
        typer.Option(
            help="Compute on a Ray cluster: auto, the one this machine belongs to; local, this machine alone; or "
            "HOST:PORT. Results are packed into parquet files unless --pack says otherwise.",
            metavar="auto|local|ADDRESS",
        ),
    ] = ""
    workers: Annotated[
        str,
        typer.Option(
            help="Least and most processes on the cluster (--cluster). Default: from 1 to as many as its GPUs, or "
            "without GPUs its cores, allow.",
            metavar="MIN:MAX",
        ),
    ] = ""
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            help="GPUs of each process on the cluster; 0.5: two share one. Default: 1, or 0 if the cluster has none.",
            show_default=False,
        ),
    ] = None

    def check(self, split: SplitFlags) -> None:
        """Check that there is a cluster if there are flags for one, and that the run is not split as well.

        Raises:
            InvalidInputError: flags are given without --cluster; or --shard or --devices with it.
        """
        if self.cluster and (split.shard or split.devices):
            raise InvalidInputError(
                f"{'--shard' if split.shard else '--devices'} does not work with --cluster, which divides the images "
                "among its workers; omit one of them"
            )
        if not self.cluster and (self.workers or self.gpus_per_worker is not None):
            name = "--workers" if self.workers else "--gpus-per-worker"
            raise InvalidInputError(f"{name} is for --cluster; pass --cluster auto, local or HOST:PORT too")


def compute_in_processes(
    sources: list[str],
    flags: ClusterFlags,
    stores: StoreFlags,
    find: o.FindFlags,
    run: StoredRun,
    model: o.ModelFlags,
    note: Callable[[ModelCard], None],
) -> ClusterReport:
    """Compute and write images on a cluster, or on several devices of this machine.

    Args:
        sources: see `find_stored`.
        flags, stores, find, run, model: of the command.
        note: prints what users should know about the model.

    Raises:
        InvalidInputError: --scene, --index, --shard or --auto-cleanup; or see `run_on_cluster`.
        DA3Error: see `run_on_cluster`.
    """
    flag = "--devices and stored images or packed results" if run.devices else "--cluster"
    for name in ("scene", "index", "shard", "auto_cleanup"):
        if getattr(run, name):
            raise InvalidInputError(f"--{name.replace('_', '-')} does not work with {flag}; omit one of them")
    from depth_anything_3.jobs.cluster.job import run_on_cluster
    from depth_anything_3.jobs.cluster.worker import WorkerJob
    from depth_anything_3.jobs.sinks import SinkOptions
    from depth_anything_3.jobs.sources.address import is_address

    results = run.results
    sink = SinkOptions(
        pack=stores.pack,  # type: ignore[arg-type]  # parsed there
        part_size=stores.part_size,
        resume=run.resume,
        overwrite=run.overwrite,
    )
    if sink.pack != "files" and not run.has_formats:
        results = replace(results, export_format=PACKED_FORMAT)
    folder = str(results.export_dir)
    with _pool(flags, run.devices, model.device) as (pool, workers, device):
        job = WorkerJob(
            load=engine_loader(model),
            device=device,
            threads=1,
            destination=results.destination(run.writers, run.metric),
            options=replace(run.options, batching=run.batches.options(run.batches.max_batch_size)),
            sources=stores.source_options(find, run),
            export_dir=folder if is_address(folder) else str(results.export_dir.absolute()),
            sink=sink,
        )
        with progress(None, resumable=True) as advance:
            return run_on_cluster(pool, workers, sources, job, on_progress=advance, on_loaded=note)


@contextmanager
def _pool(flags: ClusterFlags, devices: tuple[str, ...], device: str) -> Iterator[tuple[Pool, Workers, str]]:
    """Open the pool of processes; yield it, its processes, and the name of the device in each."""
    if devices:
        from depth_anything_3.runtime.device_pool import DevicePool

        on_devices = DevicePool(devices)
        yield on_devices, on_devices.workers, on_devices.device
        return
    from depth_anything_3.jobs.cluster.job import parse_workers
    from depth_anything_3.runtime.ray_cluster import connected

    with connected(flags.cluster) as cluster:
        workers = parse_workers(flags.workers, flags.gpus_per_worker, cluster)
        yield cluster, workers, "cpu" if not workers.gpus and device == "auto" else device


def print_workers(report: ClusterReport) -> None:
    """Print what each worker has done, and the errors by class."""
    for one in report.workers:
        failed = f", {one.failed} failed" if one.failed else ""
        images = f"{one.images} image{'s' * (one.images != 1)}, {one.images_per_second:.2f} images/s"
        stdout.print(f"worker {one.worker}: {images}{failed}", markup=False)
    if report.error_classes:
        stdout.print(f"errors: {', '.join(f'{name} {count}' for name, count in report.error_classes.items())}")
