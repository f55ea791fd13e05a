"""Compute the views of one scene and write the result."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.errors import ImageReadError, ImageSizeError
from depth_anything_3.export import export
from depth_anything_3.export.labels import source_names, view_names
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.views import GivenCameras, ViewOptions, check_cameras, infer_views
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.jobs.depth_facts import depth_facts, thumbnail_colors, write_thumbnails
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.index import indexed
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile, differences
from depth_anything_3.jobs.report import RunReport, reported
from depth_anything_3.jobs.settings import camera_settings, destination_settings, network_settings
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["run_views"]

_NO_CAMERAS = GivenCameras()


def run_views(
    engine: Engine,
    paths: Sequence[Path],
    destination: Destination,
    options: ViewOptions,
    cameras: GivenCameras = _NO_CAMERAS,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report_file: Path | None = None,
    index: bool = False,
) -> RunReport:
    """Compute depth and cameras of the views of one scene, and write them in upstream's layout.

    `views.json` lists the views. A folder holds one scene: files of an earlier one that are not written again are
    removed.

    Args:
        engine: the network.
        paths: the views.
        destination: output folder and formats.
        options: preprocessing and network.
        cameras: known cameras of the views.
        resume: compute nothing if the manifest of the folder lists the scene as complete, computed from the same
            unchanged files.
        overwrite: with `resume`, compute the scene anew if it was computed with other settings.
        report_file: JSON file for the report, written at the end of the run, also after an error or Ctrl-C.
        index: also write `index.html`, a page with all results of the folder, and thumbnails, as `run_images` does.

    Raises:
        InvalidInputError: with `resume` and without `overwrite`, the scene was computed with other settings. Or the
            manifest is damaged.
        DA3Error: with `on_error` "raise", the error of the first view that failed; with "skip" it is reported.
        ExportError: a file cannot be written.
        UnsupportedError: the model does not predict what a format or metric depth needs.
    """
    has_intrinsics = cameras.intrinsics is not None
    destination.check(engine.card, options.preprocess, options.network, views=len(paths), has_intrinsics=has_intrinsics)
    check_cameras(engine, cameras)
    engine.check(options.network, has_poses=cameras.extrinsics is not None)
    settings: Settings = {
        **network_settings(engine, options.preprocess, options.network),
        **options.output.settings(),
        **destination_settings(destination),
        **camera_settings(cameras),
    }
    manifest, report = Manifest(destination.folder), RunReport.of(engine, destination.folder)
    sources = [SourceFile.of(path) for path in paths]
    if resume and _is_complete(manifest, sources, settings, overwrite=overwrite):
        record = manifest.record("scene")
        assert record is not None
        for path in paths:
            report.add_skipped(str(path), [destination.folder / one for one in record.outputs])
        with indexed(manifest, report, index):
            return report
    engine.input_processor.warm_up()
    with indexed(manifest, report, index), reported(report, report_file):
        try:
            prediction = infer_views(engine, paths, options, cameras)
        except (ImageReadError, ImageSizeError) as error:
            if options.preprocess.on_error is OnError.RAISE:
                raise
            report.add_failure(str(paths[0]) if len(paths) == 1 else f"all {len(paths)} views", error)
            return report
        exporting = time.perf_counter()
        if destination.metric is not None:
            prediction, origins = destination.metric.apply(prediction)
            report.add_focal_lengths(origins)
        outputs = export(prediction, destination.folder, destination.formats, options=destination.options)
        outputs.append(_write_view_list(prediction, destination.folder))
        computed = [one for path, one in zip(paths, sources, strict=True) if str(path) in prediction.sources]
        facts = depth_facts(prediction)
        if index and not any(one.parent.name == "depth_vis" for one in outputs):
            colors = thumbnail_colors(destination.parsed_formats, destination.options)
            facts = write_thumbnails(prediction, facts, destination.folder, None, colors)
        manifest.add("scene", "", settings, computed, outputs, facts)
        report.add_prediction(prediction, time.perf_counter() - exporting, outputs)
        for failure in prediction.failures:
            report.add_failure(failure.label, failure.error)
    return report


def _write_view_list(prediction: Prediction, folder: Path) -> Path:
    """Write `views.json`: number, name, path and size of each view, in the order of the results."""
    names, numbers = source_names(prediction.sources), view_names(prediction, None)
    views = [
        {"view": number, "name": name, "source": source, "size": size}
        for number, name, source, size in zip(numbers, names, prediction.sources, prediction.source_hw, strict=True)
    ]
    path = folder / "views.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(views, indent=2) + "\n", encoding="utf-8")
    return path


def _is_complete(manifest: Manifest, sources: Sequence[SourceFile], settings: Settings, *, overwrite: bool) -> bool:
    """Whether the folder holds the scene of these files.

    Raises:
        InvalidInputError: it was computed with other settings, and `overwrite` is False.
    """
    record = manifest.record("scene")
    if record is None or len(record.sources) != len(sources):
        return False
    if not all(map(SourceFile.is_same, sources, record.sources)):
        return False
    if (earlier := manifest.settings(record)) != settings:
        if overwrite:
            return False
        raise differences(manifest.folder, {"the scene": earlier}, settings)
    return manifest.is_complete(record)
