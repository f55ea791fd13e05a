"""Show live depth of a camera, stream or file in a window or browsers, and record it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.export.video_file import VideoWriter, join_parts, part_files
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.video.live import LiveStats, LiveStream
from depth_anything_3.inference.video.options import VideoOptions
from depth_anything_3.inference.video.stream import stream_video
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import FrameSource, open_source
from depth_anything_3.inputs.video.reconnect import ReconnectingSource
from depth_anything_3.jobs.live.address import parse_address
from depth_anything_3.jobs.live.frame_view import FrameView
from depth_anything_3.jobs.live.window import WindowViewer, why_no_window

if TYPE_CHECKING:
    import torch
from depth_anything_3.runtime.pyav import NEEDS_PYAV, has_pyav

__all__ = ["LiveEvents", "LiveOutputs", "OpenPage", "Page", "check_outputs", "open_live_source", "watch"]

_STATUS_INTERVAL = 0.5  # seconds
_DEFAULTS = PreprocessOptions()

_Show = Callable[[npt.NDArray[np.uint8], str, float], bool]
"""Shows an image with a line of text, at a time in seconds since the first frame; returns False once closed."""


class Page(Protocol):
    """A page for browsers that shows the newest image."""

    @property
    def url(self) -> str:
        """Its address."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can open it."""

    def show(self, image: npt.NDArray[np.uint8]) -> None:
        """Replace the image, (H, W, 3) uint8 RGB."""

    def close(self) -> None:
        """Stop serving it."""


OpenPage = Callable[[tuple[str, int], str, Callable[[], Mapping[str, float | None]]], Page]
"""Opens a page: host and port, title, and what returns the statistics below the image."""


@dataclass(frozen=True)
class LiveOutputs:
    """Outputs of live depth.

    Attributes:
        address: host and port of the page for browsers; None: no page.
        window: whether a window is opened.
        recording: .mp4 file to write; None: no recording.
        colormap: colours of the depth.
    """

    address: tuple[str, int] | None = None
    window: bool = False
    recording: Path | None = None
    colormap: Colormap = Colormap.SPECTRAL


@dataclass(frozen=True)
class LiveEvents:
    """Callbacks of a live run.

    Attributes:
        status: called with a status line that replaces the last one.
        page: called with the URL of the page, and whether only this machine can open it.
        recorded: called with the number of frames and the file, once it is complete.
        failed: called with each frame that could not be used, in the network's thread.
    """

    status: Callable[[str], None]
    page: Callable[[str, bool], None]
    recorded: Callable[[int, Path], None]
    failed: Callable[[ImageFailure], None]


def check_outputs(http: str, recording: Path | None, colormap: str = Colormap.SPECTRAL.value) -> LiveOutputs:
    """Choose and check the outputs, before anything is loaded.

    Args:
        http: [HOST:]PORT of a page; empty: open a window if there is a display.
        recording: .mp4 file to write, or None.
        colormap: name of the colours of the depth.

    Raises:
        InvalidInputError: the address, the file or the colour map is not accepted.
        UnsupportedError: there is no output, or PyAV is not installed.
    """
    address, colors = parse_address(http) if http else None, Colormap(colormap)
    if recording is not None:
        _check_recording(recording)
    no_window = why_no_window() if address is None else None
    if no_window is not None and recording is None:
        raise UnsupportedError(f"cannot open a window: {no_window}; watch in a browser with --http 8000")
    return LiveOutputs(address, address is None and no_window is None, recording, colors)


def _check_recording(target: Path) -> None:
    if target.suffix != ".mp4":
        raise InvalidInputError(f"--record {target}: give a file name that ends in .mp4")
    if not has_pyav():
        raise UnsupportedError(NEEDS_PYAV)
    for part in part_files(target):
        raise InvalidInputError(
            f"{part}: left by a recording that was killed; it can be played. Rename or delete it first"
        )


def open_live_source(
    source: str, device: torch.device, *, reconnect: float = 0.0, preprocess: PreprocessOptions = _DEFAULTS
) -> FrameSource:
    """Open a camera, URL or file; damaged frames are skipped.

    Args:
        source: as for `open_source`.
        device: of the network.
        reconnect: seconds to keep trying when the connection to a URL is lost.
        preprocess: its strategy and fidelity.

    Raises:
        InvalidInputError: an argument is not accepted.
        VideoReadError: it cannot be opened.
    """

    def opened() -> FrameSource:
        return open_source(
            source,
            on_error=OnError.SKIP,
            strategy=preprocess.strategy,
            device=device,
            fidelity=preprocess.fidelity,
        )

    return ReconnectingSource(opened, reconnect) if "://" in source else opened()


def watch(
    engine: Engine,
    frames: FrameSource,
    outputs: LiveOutputs,
    events: LiveEvents,
    options: VideoOptions,
    open_page: OpenPage | None = None,
) -> LiveStats:
    """Show depth of the newest frame until the source ends, the window is closed, or Ctrl-C.

    Args:
        engine: the network.
        frames: source of the frames; closed at the end.
        outputs: where to show them.
        events: callbacks.
        options: of the video, with mode "live".
        open_page: opens the page at `outputs.address`, which a job cannot do: servers are above it.

    Returns:
        Counts and latencies.

    Raises:
        KeyboardInterrupt: the process received SIGTERM.
    """
    with ExitStack() as stack:
        stack.enter_context(frames)
        events.status("warming up")
        stream = stream_video(engine, frames, options, events.failed)
        assert isinstance(stream, LiveStream)
        stack.enter_context(stream)
        title = f"{frames.info.label}, {engine.card.name}"
        shows: list[_Show] = []
        if outputs.recording is not None:
            shows.append(stack.enter_context(_recorder(outputs.recording, events)))
        if outputs.address is not None:
            assert open_page is not None
            page = open_page(outputs.address, title, lambda: _numbers(stream))
            shows.append(stack.enter_context(_shown(page, events)))
        if outputs.window:
            shows.append(stack.enter_context(_window(title)))
        try:
            _show_all(stream, FrameView(outputs.colormap), shows, events)
        except KeyboardInterrupt as stopped:
            if stopped.args:  # SIGTERM
                raise
    return stream.stats


def _show_all(stream: LiveStream, view: FrameView, shows: Sequence[_Show], events: LiveEvents) -> None:
    reported, text, began = 0.0, "", None
    events.status("waiting for the first frame")
    for frame, prediction in stream:
        began = frame.time if began is None else began
        if time.monotonic() - reported > _STATUS_INTERVAL:
            reported, text = time.monotonic(), str(stream.stats)
            events.status(text)
        image = view(prediction, frame.time)
        still_open = [show(image, text, frame.time - began) for show in shows]  # every output gets the last frame
        if not all(still_open):
            return


@contextmanager
def _window(title: str) -> Iterator[_Show]:
    window = WindowViewer(f"{title}: camera | depth")
    try:
        yield lambda image, text, _seconds: window.show(image, text)
    finally:
        window.close()


@contextmanager
def _shown(page: Page, events: LiveEvents) -> Iterator[_Show]:
    events.page(page.url, page.is_local)

    def show(image: npt.NDArray[np.uint8], _text: str, _seconds: float) -> bool:
        page.show(image)
        return True

    try:
        yield show
    finally:
        page.close()


def _numbers(stream: LiveStream) -> Mapping[str, float | None]:
    """Collect the statistics for the page; None: not known yet."""
    stats = stream.stats
    numbers = {
        "frames_per_second": stats.fps,
        "latency_p50_ms": 1e3 * stats.p50,
        "latency_p95_ms": 1e3 * stats.p95,
        "latency_p99_ms": 1e3 * stats.p99,
        "captured": stats.captured,
        "dropped": stats.dropped,
        "reconnections": getattr(stream.source, "reconnections", 0),
    }
    return {name: round(value, 1) if math.isfinite(value) else None for name, value in numbers.items()}


@contextmanager
def _recorder(target: Path, events: LiveEvents) -> Iterator[_Show]:
    """Record what is shown; the file is complete when the block ends, however it does."""
    writer, size = VideoWriter(target), None

    def show(image: npt.NDArray[np.uint8], _text: str, seconds: float) -> bool:
        nonlocal size
        size = size or image.shape[1::-1]
        # A stream may come back in another size than it had.
        same_size = image if image.shape[1::-1] == size else np.asarray(cv2.resize(image, size), np.uint8)
        writer.write(same_size, seconds)
        return True

    try:
        yield show
    finally:
        writer.close()
        if writer.frames:
            join_parts(target)
            events.recorded(writer.frames, target)
