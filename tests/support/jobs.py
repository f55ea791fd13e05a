"""Run jobs with keyword arguments in place of records."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.video.options import VideoOptions
from depth_anything_3.inference.views import ViewOptions
from depth_anything_3.jobs import images, views
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.video import job
from depth_anything_3.jobs.video.results import VideoResults

__all__ = ["run_images", "run_video", "run_views"]

_CALLBACKS = ("resume", "overwrite", "report_file", "index", "shard", "on_begin", "on_progress")


def _destination(folder, formats, export_options, metric):
    return Destination(folder=Path(folder), formats=formats, options=export_options, metric=metric)


def _split(options):
    return {one: options.pop(one) for one in _CALLBACKS if one in options}, options


def run_images(model, paths, folder, formats, *, export_options=None, metric=None, **options):
    """`jobs.images.run_images` with the options of `DepthAnything3.stream`."""
    callbacks, rest = _split(options)
    destination = _destination(folder, formats, export_options, metric)
    return images.run_images(
        model.engine, paths, destination, StreamOptions.parse(rest, caller=run_images), **callbacks
    )


def run_views(model, paths, folder, formats, *, export_options=None, metric=None, **options):
    """`jobs.views.run_views` with the options of `DepthAnything3.stream`."""
    callbacks, rest = _split(options)
    parsed = StreamOptions.parse(rest, caller=run_views)
    chosen = ViewOptions(preprocess=parsed.preprocess, network=parsed.network)
    destination = _destination(folder, formats, export_options, metric)
    return views.run_views(model.engine, paths, destination, chosen, **callbacks)


def run_video(model, source, folder, results=None, *, selection=None, **options):
    """`jobs.video.job.run_video` with the options of `DepthAnything3.stream_video`."""
    callbacks, rest = _split(options)
    parsed = VideoOptions.parse({**rest, **(selection or {})}, caller=run_video)
    return job.run_video(model.engine, source, folder, results or VideoResults(), parsed, **callbacks)
