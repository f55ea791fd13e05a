"""Compute the views of one scene and write the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.errors import ImageReadError, ImageSizeError
from depth_anything_3.export import export
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.views import GivenCameras, ViewOptions, check_cameras, infer_views
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.report import RunReport

__all__ = ["run_views"]

_NO_CAMERAS = GivenCameras()


def run_views(
    engine: Engine,
    paths: Sequence[Path],
    destination: Destination,
    options: ViewOptions,
    cameras: GivenCameras = _NO_CAMERAS,
) -> RunReport:
    """Compute depth and cameras of the views of one scene, and write them in upstream's layout.

    Args:
        engine: the network.
        paths: the views.
        destination: output folder and formats.
        options: preprocessing and network.
        cameras: known cameras of the views.

    Raises:
        DA3Error: with `on_error` "raise", the error of the first view that failed; with "skip" it is reported.
        ExportError: a file cannot be written.
        UnsupportedError: the model does not predict what a format or metric depth needs.
    """
    has_intrinsics = cameras.intrinsics is not None
    destination.check(engine.card, options.preprocess, options.network, views=len(paths), has_intrinsics=has_intrinsics)
    check_cameras(engine, cameras)
    engine.check(options.network, has_poses=cameras.extrinsics is not None)
    report = RunReport.of(engine, destination.folder)
    engine.input_processor.warm_up()
    began = time.perf_counter()
    try:
        prediction = infer_views(engine, paths, options, cameras)
    except (ImageReadError, ImageSizeError) as error:
        if options.preprocess.on_error is OnError.RAISE:
            raise
        name = str(paths[0]) if len(paths) == 1 else f"all {len(paths)} views"
        report.failures = [{"image": name, "error": str(error)}]
        report.wall_seconds = time.perf_counter() - began
        return report
    exporting = time.perf_counter()
    if destination.metric is not None:
        prediction, origins = destination.metric.apply(prediction)
        report.add_focal_lengths(origins)
    export(prediction, destination.folder, destination.formats, options=destination.options)
    done = time.perf_counter()
    report.add_prediction(prediction, done - exporting)
    for failure in prediction.failures:
        report.add_failure(failure)
    report.wall_seconds = done - began
    return report
