"""Write the results of a video, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import ExportFormat, ExportOptions, check_formats, export, result_files
from depth_anything_3.export.colormap import inverse_depth_range
from depth_anything_3.export.fields import FRAME_FIELDS
from depth_anything_3.export.format_options import ColorOptions, depth_range_of, inverse_range
from depth_anything_3.export.labels import depth_unit
from depth_anything_3.export.registry import formats_for, parse_formats, unknown_format
from depth_anything_3.export.video_file import VideoWriter, join_parts, part_files
from depth_anything_3.inference.options import StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.video import Frame
from depth_anything_3.jobs.manifest import Manifest, Settings, SourceFile
from depth_anything_3.jobs.report import OnProgress, RunReport
from depth_anything_3.jobs.shared_range import shared_formats, with_depth_range
from depth_anything_3.jobs.video.frames import colorize_frame, depth_levels
from depth_anything_3.jobs.video.resume_log import FrameLog, RunState
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.metric import MetricConversion

__all__ = ["VIDEO_SUFFIXES", "ResultsWriter", "VideoFiles", "VideoResults", "with_range"]

VIDEO_SUFFIXES = {"mp4": ".mp4", "ffv1": ".mkv"}
"""Suffixes of the formats that are one video."""

_RANGE_FRAMES = 16  # frames that the colour range of a stream is taken from
_MAX_LEVEL = 65535
_HEADROOM = 2.0  # maximum depth of the 16-bit video, relative to the maximum of the sampled frames
_MAX_DEPTHS = 100_000  # depths per frame that percentiles are taken from


@dataclass(frozen=True)
class VideoResults:
    """Formats and layout of the results of a video.

    Attributes:
        formats: joined with '-': "mp4" (coloured depth, H.264), "ffv1" (16-bit depth, lossless, Matroska), and formats
            of `export` that write one file per frame, such as "npz" or "depth_png".
        side_by_side: for "mp4", show the frame to the left of its depth.
        full_size: for "mp4", write at the size of the input video instead of the network's.
        metric: conversion to metric depth; None: none.
        options: options of the writers of `export`; "mp4" takes `colormap` and `depth_range` from them.
        videos: the formats that are one video.
        frame_formats: the formats that are one file per frame.

    Raises:
        InvalidInputError: a format is unknown, or an option is for "mp4", which is not among the formats.
    """

    formats: str = "mp4"
    side_by_side: bool = False
    full_size: bool = False
    metric: MetricConversion | None = None
    options: ExportOptions | None = None
    videos: tuple[str, ...] = field(init=False)
    frame_formats: tuple[ExportFormat, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = [one for one in self.formats.split("-") if one]
        accepted = [*VIDEO_SUFFIXES, *(one.name for one in formats_for(FRAME_FIELDS))]
        if not names:
            raise InvalidInputError(unknown_format(self.formats, accepted))
        object.__setattr__(self, "videos", tuple(one for one in VIDEO_SUFFIXES if one in names))
        others = "-".join(one for one in names if one not in VIDEO_SUFFIXES)
        object.__setattr__(self, "frame_formats", _checked(others, accepted) if others else ())
        if (self.side_by_side or self.full_size) and "mp4" not in self.videos:
            raise InvalidInputError("side_by_side and full_size need the format mp4; add it to export_format")

    @property
    def colors(self) -> ColorOptions:
        """Colours of "mp4"."""
        return (self.options or ExportOptions()).colors()

    @property
    def shared(self) -> tuple[ExportFormat, ...]:
        """The formats of frames whose colours have the range of the video."""
        return shared_formats(self.frame_formats, self.options)

    @property
    def needs_range(self) -> bool:
        """Whether the range of the whole video is needed."""
        return bool(self.videos or self.shared)


def _checked(formats: str, accepted: Sequence[str]) -> tuple[ExportFormat, ...]:
    return check_formats(parse_formats(formats, accepted), FRAME_FIELDS)


@dataclass(frozen=True)
class VideoFiles:
    """The files of one video's results, and their entry in the manifest of the folder.

    Attributes:
        results: formats and layout.
        folder: export folder.
        name: of the video's results.
        manifest: of the folder.
        settings: what the results depend on.
        source: identity of the video.
    """

    results: VideoResults
    folder: Path
    name: str
    manifest: Manifest
    settings: Settings
    source: SourceFile

    @property
    def log(self) -> Path:
        """The file that lists the finished frames."""
        return self.folder / f"{self.name}_frames.csv"

    @property
    def videos(self) -> dict[str, Path]:
        """The videos, by format."""
        return {one: self.folder / f"{self.name}_depth{VIDEO_SUFFIXES[one]}" for one in self.results.videos}

    def all(self, frames: int) -> list[Path]:
        """List all files of a video with this many frames."""
        names = (self.frame_name(number) for number in range(frames)) if self.results.frame_formats else ()
        each = (
            file
            for one in names
            for file in result_files(self.folder, self.results.frame_formats, one, self.results.options)
        )
        return [self.log, *self.videos.values(), *each]

    def frame_name(self, number: int) -> str:
        """Name the results of a frame, without suffix."""
        return f"{self.name}_{number:06d}"

    def begin(self) -> None:
        """Record that the video has begun; files of an earlier version of the video are removed.

        Raises:
            ExportError: the manifest cannot be written.
        """
        earlier = self.manifest.record("video", self.name)
        same = earlier is not None and self.source.is_same(earlier.sources[0])
        kept = [self.folder / one for one in earlier.outputs] if earlier is not None and same else []
        self.manifest.add("video", self.name, self.settings, [self.source], dict.fromkeys([self.log, *kept]))

    def complete(self, frames: int) -> None:
        """Record that the results of all frames are complete.

        Raises:
            ExportError: the manifest cannot be written.
        """
        self.manifest.add("video", self.name, self.settings, [self.source], self.all(frames))


@dataclass
class ResultsWriter:
    """Writes the results frame by frame. Not thread-safe."""

    files: VideoFiles
    state: RunState
    report: RunReport
    on_progress: OnProgress
    stream: StreamOptions
    warnings: dict[str, None] = field(default_factory=dict)
    _held: list[tuple[Frame, Prediction]] = field(default_factory=list)
    _writers: dict[str, VideoWriter] = field(default_factory=dict)
    _log: FrameLog | None = None
    _sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def results(self) -> VideoResults:
        """Formats and layout."""
        return self.files.results

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """Write a frame, or hold it until the colour range is known."""
        if self.results.metric is not None:
            prediction, origins = self.results.metric.apply(prediction)
            self.report.add_focal_lengths(origins)
        if self.results.needs_range and self.state.inverse_depth is None:
            self._held.append((frame, prediction))
            if len(self._held) == _RANGE_FRAMES:
                self.flush()
            return
        self._write(frame, prediction)

    def flush(self) -> None:
        """Write the frames that are held."""
        if self._held:
            self.state = with_range(self.state, [prediction for _, prediction in self._held], self.stream.output)
            for frame, prediction in self._held:
                self._write(frame, prediction)
            self._held.clear()

    def close(self) -> None:
        """Finalise the parts, so that they can be played."""
        for writer in self._writers.values():
            writer.close()
        if self._log is not None:
            self._log.close()

    def finish(self) -> None:
        """Join the parts to complete videos."""
        for writer in self._writers.values():
            writer.close()
        for file in self.files.videos.values():
            if part_files(file):
                join_parts(file)
        if self._log is None and self.state.times:
            self._log = FrameLog(self.files.log, self.state)
        if self._log is not None:
            self._log.complete()
            self._log.close()
            self.files.complete(self.report.skipped + self.report.images)

    def _write(self, frame: Frame, prediction: Prediction) -> None:
        if self.stream.output.at_input_size:
            prediction = self.stream.output.apply(prediction, [frame.as_source()], self.stream.preprocess)
        exporting = time.perf_counter()
        if self._log is None:
            self._begin(prediction)
        assert self._log is not None
        first = self.state.times[0] if self.state.times else frame.time
        if not self.state.times:
            self.state = replace(self.state, times=(frame.time,))
        number = self.report.skipped + self.report.images
        self._export(prediction, self.files.frame_name(number))
        for kind, writer in self._writers.items():
            writer.write(self._pixels(kind, frame, prediction), frame.time - first)
        self._log.add(frame.time)
        self.warnings.update(dict.fromkeys(prediction.warnings))
        self.report.add_prediction(prediction, time.perf_counter() - exporting, (), keep_records=False)
        self.on_progress(len(self.report.failures))

    def _export(self, prediction: Prediction, name: str) -> None:
        """Write the files of a frame."""
        folder, shared, options = self.files.folder, self.results.shared, self.results.options
        if shared and self.state.inverse_depth is not None:
            ranged = with_depth_range(options, depth_range_of(self.state.inverse_depth))
            export(prediction, folder, shared, name, ranged)
        others = [one for one in self.results.frame_formats if one not in shared]
        if others:
            export(prediction, folder, others, name, options)

    def _begin(self, prediction: Prediction) -> None:
        scale = {"depth_scale": repr(self.state.depth_scale), "depth_unit": depth_unit(prediction)}
        for kind, file in self.files.videos.items():
            self._writers[kind] = VideoWriter(file, scale if kind == "ffv1" else None)
        self.files.begin()
        self._log = FrameLog(self.files.log, self.state)

    def _pixels(self, kind: str, frame: Frame, prediction: Prediction) -> npt.NDArray[Any]:
        """Draw a frame, at the size of the first one even if the size of the input changes."""
        results = self.results
        if kind == "ffv1":
            assert self.state.depth_scale is not None
            pixels: npt.NDArray[Any] = depth_levels(prediction, self.state.depth_scale)
        else:
            pixels = colorize_frame(
                frame,
                prediction,
                inverse_range(results.colors.depth_range) or self.state.inverse_depth,
                colormap=results.colors.colormap,
                side_by_side=results.side_by_side,
                full_size=results.full_size,
                preprocess=self.stream.preprocess,
            )
        size = self._sizes.setdefault(kind, pixels.shape[:2])
        if pixels.shape[:2] != size:
            pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        return pixels


def with_range(state: RunState, predictions: list[Prediction], output: OutputOptions) -> RunState:
    """Set the colour range and depth scale of the whole video from some of its frames, at the network's size."""
    depths = [
        one.depth.ravel()[:: max(1, one.depth.size // _MAX_DEPTHS)] * np.float32(output.depth_factor(one))
        for one in predictions
    ]
    together = np.concatenate(depths) if depths else np.ones(1, np.float32)
    known = together[np.isfinite(together) & (together > 0)]
    farthest = float(known.max()) if known.size else 1.0
    inverse_depth = inverse_depth_range(known) or (0.0, 1.0)
    return replace(state, inverse_depth=inverse_depth, depth_scale=_HEADROOM * farthest / _MAX_LEVEL)
