"""Define `da3 images`, which computes depth of images on disk."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.cluster import ClusterFlags, compute_in_processes, print_workers
from depth_anything_3.cli.console import finish, load_model, note_licence, stderr
from depth_anything_3.cli.flag_groups import grouped
from depth_anything_3.cli.progress import progress
from depth_anything_3.cli.scene import compute_scene
from depth_anything_3.cli.scene_run import SceneRun, clean
from depth_anything_3.cli.splitting import SplitFlags, engine_loader, selected
from depth_anything_3.cli.stored import StoredRun, StoreFlags, compute_stored
from depth_anything_3.cli.unused import is_given
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from pathlib import Path

    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.inputs.discover import FoundImage
    from depth_anything_3.model.catalog import ModelCard

__all__ = ["PREPROCESS", "find_sources", "images", "note_unit"]

PREPROCESS = PreprocessOptions(on_error=OnError.SKIP)


@grouped
def images(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, quoted patterns ('**/*.jpg'), s3://, gs://, hf:// and https:// addresses, "
            "webdataset tars, parquet files, CSV and COCO lists, or @list.txt with one of these per line.",
            metavar="SOURCE",
        ),
    ],
    *,
    results: o.ResultFlags,
    model: o.ModelFlags,
    scene: o.Scene = False,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    auto_cleanup: o.AutoCleanup = False,
    index: o.Index = False,
    metric: o.MetricFlags,
    find: o.FindFlags,
    stores: StoreFlags,
    preprocess: PreprocessOptions = PREPROCESS,
    output: o.OutputOptions,
    batches: o.BatchFlags,
    split: SplitFlags,
    cluster: ClusterFlags,
    network: o.NetworkFlags,
    writers: o.WriterFlags,
    backend: o.BackendFlags,
    as_json: o.Json = False,
    context: typer.Context,
) -> None:
    """Compute depth of images: of each independently, or with --scene of all as views of one scene."""
    from depth_anything_3.inference.views import ViewOptions
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.devices import run_on_devices
    from depth_anything_3.jobs.image_job import ImageJob
    from depth_anything_3.jobs.shared_range import shared_formats
    from depth_anything_3.runtime.devices import choose_device

    if not scene:
        backend.refuse("da3 images without --scene")
    cluster.check(split)
    destination = results.destination(writers, metric)
    options = o.stream_options(preprocess, network, batches, output)
    shard, devices = split.parse(scene=scene, auto_cleanup=auto_cleanup)
    if not devices and not cluster.cluster:
        check_device(choose_device(model.device), preprocess)  # misuse is reported before weights are loaded
    load = partial(_load, model, metric)
    if cluster.cluster or stores.applies(sources, str(results.export_dir)):
        stored = StoredRun(
            results=results,
            writers=writers,
            metric=metric,
            batches=batches,
            options=options,
            has_formats=is_given(context, "export_format"),
            resume=resume,
            overwrite=overwrite,
            auto_cleanup=auto_cleanup,
            scene=scene,
            index=index,
            shard=shard,
            devices=devices,
        )
        if cluster.cluster or devices:
            is_packed = cluster.cluster and not is_given(context, "pack")
            packed = replace(stores, pack="parquet") if is_packed else stores
            note = partial(_note_card, metric=metric)
            ran = compute_in_processes(sources, cluster, packed, find, stored, model, note)
            if not as_json:
                print_workers(ran)
            finish(images, ran, as_json)
            return
        finish(images, compute_stored(sources, stores, find, stored, load), as_json)
        return
    found = find_sources(sources, find, destination.folder)
    if scene:
        run = SceneRun(
            results=results,
            writers=writers,
            metric=metric,
            model=model,
            resume=resume,
            overwrite=overwrite,
            auto_cleanup=auto_cleanup,
            index=index,
            output=output,
            backend=backend,
        )
        views = ViewOptions(preprocess=options.preprocess, network=options.network)
        finish(images, compute_scene([one.path for one in found], run, views), as_json, index=index)
        return
    count = len(selected(found, shard))
    resumable = not shared_formats(destination.parsed_formats, destination.options)
    loaded = None if devices else load()
    clean(destination.folder, auto_cleanup=auto_cleanup, resume=resume)
    job = ImageJob(
        images=found,
        destination=destination,
        options=replace(options, batching=batches.options(max(1, count // (len(devices) or 1)))),
        resume=resume,
        overwrite=overwrite,
        index=index,
        shard=shard,
    )
    with progress(count, resumable=resumable) as advance:
        if loaded is None:
            note = partial(_note_card, metric=metric)
            report = run_on_devices(job, devices, engine_loader(model), on_progress=advance, on_loaded=note)
        else:
            report = job.compute(loaded.engine, on_progress=advance)
    if index and shard is not None:
        stderr.print(f"when all shards are done, da3 index {destination.folder} writes index.html", markup=False)
    finish(images, report, as_json, index=index and shard is None)


def _load(model: o.ModelFlags, metric: o.MetricFlags) -> DepthAnything3:
    loaded = load_model(model)
    note_unit(loaded.card, metric)
    return loaded


def _note_card(card: ModelCard, metric: o.MetricFlags) -> None:
    """Print what users should know about the model."""
    note_licence(card)
    note_unit(card, metric)


def note_unit(card: ModelCard, metric: o.MetricFlags) -> None:
    """Print a note if the unit of depth is not what users expect."""
    from depth_anything_3.model.catalog import DepthKind

    if card.depth_kind is DepthKind.CANONICAL and not metric.metric:
        stderr.print(
            f"{card.name} predicts canonical depth (for a focal length of 300 pixels); pass --metric for metric depth"
        )


def find_sources(sources: list[str], find: o.FindFlags, export_dir: Path) -> list[FoundImage]:
    """Find images, except in the folders of results, which may be inside the image folder.

    Raises:
        InvalidInputError, ImageReadError: see `find_with_folders`.
    """
    from depth_anything_3.export.registry import FORMATS
    from depth_anything_3.inputs.discover import find_with_folders

    exclude = [export_dir / one.name for one in FORMATS]
    return find_with_folders(sources, find.image_extensions, recursive=find.recursive, exclude=exclude)
