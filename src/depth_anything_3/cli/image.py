"""Define `da3 image`, which computes depth of one image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, stderr
from depth_anything_3.cli.flag_groups import Hide, grouped
from depth_anything_3.cli.images import PREPROCESS, find_sources, note_unit
from depth_anything_3.cli.scene_run import clean
from depth_anything_3.cli.unused import is_given
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.suffixes import format_of_suffix, suffixes
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.inputs.discover import FoundImage

__all__ = ["image"]

# What upstream's command, or da3 images, takes, and one image has no use for.
_OF_MANY = Hide(("image_extensions", "recursive", "batch_size", "max_batch_size", "target_memory_utilization"))
_OF_SEVERAL = Hide(("shared_range", "feat_vis_fps"))
_OF_SCENES = Hide(("use_backend", "backend_url"))
_OF_VIEWS = Hide(("mixed_sizes", "ref_view_strategy"))


@grouped
def image(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="The image file.", metavar="IMAGE", show_default=False)],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write one file of this name, and nothing to --export-dir; - is standard output. The suffix says the "
            f"format: {', '.join(f'{suffix} {one.name}' for suffix, one in suffixes().items())}; --export-format "
            "selects another one of that suffix. An existing file is replaced only with --overwrite; an existing "
            "folder gets the results, as with --export-dir.",
            metavar="FILE",
            rich_help_panel="Output",
        ),
    ] = None,
    results: o.ResultFlags,
    model: o.ModelFlags,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    auto_cleanup: o.AutoCleanup = False,
    metric: o.MetricFlags,
    find: Annotated[o.FindFlags, _OF_MANY],
    preprocess: Annotated[PreprocessOptions, _OF_VIEWS] = PREPROCESS,
    batches: Annotated[o.BatchFlags, _OF_MANY],
    network: Annotated[o.NetworkFlags, _OF_VIEWS],
    output_options: o.OutputOptions,
    writers: Annotated[o.WriterFlags, _OF_SEVERAL],
    backend: Annotated[o.BackendFlags, _OF_SCENES],
    as_json: o.Json = False,
) -> None:
    """Compute depth of one image; write its results to --export-dir, or one of them to -o FILE."""
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.images import run_images
    from depth_anything_3.jobs.named_file import STDOUT, check_target, run_to_file
    from depth_anything_3.runtime.devices import choose_device

    backend.refuse("da3 image")
    if output is not None and output.is_dir():
        results, output = replace(results, export_dir=output), None
    if output is not None:
        chosen = results.export_format if is_given(context, "export_format") else None
        results = replace(results, export_dir=Path(), export_format=format_of_suffix(output, chosen).name)
        if resume:
            raise InvalidInputError(
                "--resume reads the manifest of --export-dir, and --output has none; omit one of them"
            )
        if output == STDOUT and as_json:
            raise InvalidInputError("--json and --output - both write to standard output; omit one of them")
    destination = results.destination(writers, metric)
    options = o.stream_options(preprocess, network, batches, output_options)
    check_device(choose_device(model.device), preprocess)  # misuse is reported before weights are loaded
    found = _one(find_sources(sources, find, destination.folder))
    if output is not None:
        check_target(output, found.path, overwrite=overwrite)
    loaded = load_model(model)
    note_unit(loaded.card, metric)
    with stderr.status("computing depth"):
        if output is not None:
            report = run_to_file(loaded.engine, found, output, destination, options)
        else:
            clean(destination.folder, auto_cleanup=auto_cleanup, resume=resume)
            report = run_images(loaded.engine, [found], destination, options, resume=resume, overwrite=overwrite)
    finish(image, report, as_json, to=stderr if output == STDOUT else None)


def _one(found: list[FoundImage]) -> FoundImage:
    """Return the only image.

    Raises:
        InvalidInputError: there are several.
    """
    if len(found) != 1:
        raise InvalidInputError(f"da3 image takes one image, but {len(found)} were given; use da3 images")
    return found[0]
