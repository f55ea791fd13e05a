"""Define the flags of stored images and packed results, for `da3 images`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.progress import progress
from depth_anything_3.cli.scene_run import clean
from depth_anything_3.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.inference.options import StreamOptions
    from depth_anything_3.jobs.report import RunReport
    from depth_anything_3.jobs.shards import Shard
    from depth_anything_3.jobs.sources.find import SourceOptions
    from depth_anything_3.jobs.sources.selection import Selection

__all__ = ["PACKED_FORMAT", "StoreFlags", "StoredRun", "compute_stored"]

PACKED_FORMAT = "depth_png"
"""Format of packed results, unless others are given."""


@dataclass(frozen=True)
class StoreFlags:
    """Choice of images in tars, tables and lists, and of how results are packed."""

    panel: ClassVar[str] = "Input"

    image_column: Annotated[
        str,
        typer.Option(
            help="Column of a parquet file or CSV list with the images or their paths, or ending of the members of a "
            "tar, such as jpg. Default: image, bytes, path and the like.",
            metavar="NAME",
        ),
    ] = ""
    id_column: Annotated[
        str,
        typer.Option(
            help="Column of a parquet file or CSV list with the ids, which name the results. Default: id and the like.",
            metavar="NAME",
        ),
    ] = ""
    root: Annotated[
        str,
        typer.Option(
            help="Folder or address to which the paths in a list are relative. Default: that of the list.",
            metavar="DIR",
        ),
    ] = ""
    pack: Annotated[
        str,
        typer.Option(
            help="Write files, or pack results into webdataset tars or parquet files (by default of depth_png).",
            metavar="files|webdataset|parquet",
            rich_help_panel="Output",
        ),
    ] = "files"
    part_size: Annotated[
        int, typer.Option(help="Results in a tar or parquet file (--pack).", rich_help_panel="Output")
    ] = 1000

    def applies(self, sources: list[str], export_dir: str) -> bool:
        """Whether a source or the output folder is more than files on disk, or results are packed."""
        from depth_anything_3.jobs.sources.address import is_address
        from depth_anything_3.jobs.sources.kind import is_stored

        return self.pack != "files" or is_address(export_dir) or any(is_stored(one) for one in sources)

    def source_options(self, find: o.FindFlags, run: StoredRun, selection: Selection | None = None) -> SourceOptions:
        """Parse the options of the sources."""
        from depth_anything_3.export.registry import FORMATS
        from depth_anything_3.jobs.sources.find import SourceOptions

        return SourceOptions(
            image_column=self.image_column or None,
            id_column=self.id_column or None,
            root=self.root or None,
            image_extensions=find.image_extensions,
            recursive=find.recursive,
            exclude=tuple(run.results.export_dir / one.name for one in FORMATS),
            max_bytes=run.options.preprocess.max_bytes,
            selection=selection,
        )


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """Where and how the results of stored images are written; as the flags.

    Attributes:
        has_formats: whether the formats were given.
    """

    results: o.ResultFlags
    writers: o.WriterFlags
    metric: o.MetricFlags
    batches: o.BatchFlags
    options: StreamOptions
    has_formats: bool
    resume: bool = False
    overwrite: bool = False
    auto_cleanup: bool = False
    scene: bool = False
    index: bool = False
    shard: Shard | None = None
    devices: tuple[str, ...] = ()


def compute_stored(
    sources: list[str], flags: StoreFlags, find: o.FindFlags, run: StoredRun, load: Callable[[], DepthAnything3]
) -> RunReport:
    """Load the model, and compute and write stored images.

    Raises:
        InvalidInputError: --scene or --index; or see `run_stored`.
        DA3Error: see `run_stored`.
    """
    for name in ("scene", "index"):
        if getattr(run, name):
            raise InvalidInputError(
                f"{name}=True needs images that are files on disk, and results in a folder; it does not work with "
                "addresses, tars, tables, lists and packed results"
            )
    from depth_anything_3.jobs.sinks import SinkOptions
    from depth_anything_3.jobs.sinks.place import LocalPlace, place_of
    from depth_anything_3.jobs.sources.find import find_stored
    from depth_anything_3.jobs.sources.selection import Selection
    from depth_anything_3.jobs.stored import run_stored

    sink = SinkOptions(
        pack=flags.pack,  # type: ignore[arg-type]  # parsed there
        part_size=flags.part_size,
        resume=run.resume,
        overwrite=run.overwrite,
        shard=run.shard,
    )
    selection = Selection(run.shard)
    results = run.results
    if sink.pack != "files" and not run.has_formats:
        results = replace(results, export_format=PACKED_FORMAT)
    destination = results.destination(run.writers, run.metric)
    place = place_of(str(results.export_dir))
    images = find_stored(sources, flags.source_options(find, run, selection))
    first = next(images, None)  # what is wrong with a source is reported before weights are loaded
    loaded = load()
    if isinstance(place, LocalPlace):
        clean(place.folder, auto_cleanup=run.auto_cleanup, resume=run.resume)
    count = run.batches.max_batch_size  # that of --batch-size all: the number of images is not known
    options = replace(run.options, batching=run.batches.options(count))
    with progress(None, resumable=True) as advance:
        return run_stored(
            loaded.engine,
            chain(() if first is None else (first,), images),
            place,
            destination,
            options,
            sink,
            selection=selection,
            on_progress=advance,
        )
