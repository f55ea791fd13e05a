"""Define `da3 images`, `da3 image` and `da3 auto`, which compute depth of images on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, progress, stderr
from depth_anything_3.cli.flag_groups import grouped
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["images"]

_PREPROCESS = PreprocessOptions(on_error=OnError.SKIP)


@grouped
def images(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, quoted patterns ('**/*.jpg'), or @list.txt with one of these per line.",
            metavar="SOURCE",
        ),
    ],
    *,
    results: o.ResultFlags,
    model: o.ModelFlags,
    scene: o.Scene = False,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    metric: o.MetricFlags,
    find: o.FindFlags,
    preprocess: PreprocessOptions = _PREPROCESS,
    batches: o.BatchFlags,
    network: o.NetworkFlags,
    writers: o.WriterFlags,
    as_json: o.Json = False,
    auto_cleanup: o.AutoCleanup = False,  # upstream's scripts pass it; here every write is atomic
) -> None:
    """Compute depth of images: of each independently, or with --scene of all as views of one scene."""
    from depth_anything_3.export.registry import FORMATS
    from depth_anything_3.inference.views import ViewOptions
    from depth_anything_3.inputs.discover import find_with_folders
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.images import run_images
    from depth_anything_3.jobs.views import run_views
    from depth_anything_3.model.catalog import DepthKind
    from depth_anything_3.runtime.devices import choose_device

    destination = results.destination(writers, metric)
    options = o.stream_options(preprocess, network, batches)
    check_device(choose_device(model.device), preprocess)  # misuse is reported before weights are loaded
    exclude = [destination.folder / one.name for one in FORMATS]  # may be inside the image folder
    found = find_with_folders(sources, find.image_extensions, recursive=find.recursive, exclude=exclude)
    if context.info_name == "image" and len(found) != 1:
        raise InvalidInputError(f"da3 image takes one image, but {len(found)} were given; use da3 images")
    loaded = load_model(model)
    if loaded.card.depth_kind is DepthKind.CANONICAL and not metric.metric:
        stderr.print(
            f"{loaded.model_name} predicts canonical depth (for a focal length of 300 pixels); "
            "pass --metric for metric depth"
        )
    single = len(found) == 1 and context.info_name in ("image", "auto")
    report_file = None if single else destination.folder / "report.json"
    if scene or (single and context.info_name == "auto"):
        with stderr.status(f"computing depth of {len(found)} view(s)"):
            report = run_views(
                loaded.engine,
                [one.path for one in found],
                destination,
                ViewOptions(preprocess=options.preprocess, network=options.network),
                resume=resume,
                overwrite=overwrite,
                report_file=report_file,
            )
    else:
        with progress(len(found)) as advance:
            report = run_images(
                loaded.engine,
                found,
                destination,
                replace(options, batching=batches.options(len(found))),
                resume=resume,
                overwrite=overwrite,
                report_file=report_file,
                on_progress=advance,
            )
    finish(images, report, as_json)
