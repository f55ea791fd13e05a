"""`da3 webcam`: live depth of a camera or stream, in a window or a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import load_model, stderr, stdout
from depth_anything_3.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from depth_anything_3.inference.video.live import LiveStream
    from depth_anything_3.inputs.failure import ImageFailure
    from depth_anything_3.inputs.video import FrameSource

__all__ = ["webcam"]

Show = Callable[[Any, str, float], bool]
"""Takes a picture, a line of text and the seconds since the first frame; says whether it will take more."""

_TELL_EVERY = 0.5  # seconds


def webcam(
    source: Annotated[
        str, typer.Argument(help="Camera (0, /dev/video0), address (rtsp://, http://, udp://), or a file, as it plays.")
    ] = "0",
    model_dir: o.ModelDir = "depth-anything/DA3-SMALL",
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    http: Annotated[
        str, typer.Option(help="Show it to browsers at [HOST:]PORT, and not in a window; this machine's if no HOST.")
    ] = "",
    record: Annotated[Path | None, typer.Option(help="Also write what is shown to this .mp4 file.")] = None,
    temporal: Annotated[str, typer.Option(help="Against flicker: ema (scale and shift of each frame), none.")] = "ema",
    process_res: o.ProcessRes = 504,
    process_res_method: o.Method = "upper_bound_resize",
    reconnect: Annotated[
        float, typer.Option(help="Seconds to try again for when an address is lost; 0: end there.")
    ] = 60.0,
    strategy: o.Strategy = "auto",
    compiled: o.Compile = False,
) -> None:
    """Watch live depth: camera left, depth right; always of the newest frame. Ctrl-C ends it."""
    from depth_anything_3.api import choose_device
    from depth_anything_3.inference.video.live import LiveStream
    from depth_anything_3.inference.video.smoothing import Temporal
    from depth_anything_3.jobs.images import check_options
    from depth_anything_3.jobs.live import why_no_window
    from depth_anything_3.jobs.live.web import parse_address

    if Temporal(temporal) is Temporal.WINDOW:
        raise UnsupportedError("--temporal window waits for frames to come, which live depth cannot; choose ema")
    options: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "strategy": strategy,
    }
    check_options(choose_device(device), **options)
    address = parse_address(http) if http else None
    if record is not None:
        _check_recording(record)
    no_window = why_no_window() if address is None else None
    if no_window is not None and record is None:
        raise UnsupportedError(f"no window can be shown: {no_window}; watch in a browser with --http 8000")
    with ExitStack() as stack:
        frames = stack.enter_context(_open(source, reconnect, strategy, device))
        model = load_model(model_dir, device, dtype, compiled=compiled)
        with stderr.status("warming up"):
            stream = model.stream_video(
                frames, mode="live", temporal=temporal, on_error="skip", on_failure=_tell, **options
            )
        assert isinstance(stream, LiveStream)
        stack.enter_context(stream)
        title = f"{frames.info.label}, {model.model_name}"
        shows = [stack.enter_context(_recorder(record))] if record is not None else []
        if address is not None:
            shows.append(stack.enter_context(_page(stream, address, title)))
        elif no_window is None:
            shows.append(stack.enter_context(_window(title)))
        try:
            _watch(stream, shows)
        except KeyboardInterrupt as stopped:
            if stopped.args:  # SIGTERM
                raise
    stdout.print(str(stream.stats), markup=False)


def _open(source: str, reconnect: float, strategy: str, device: str) -> FrameSource:
    from depth_anything_3.api import choose_device
    from depth_anything_3.inputs.video import open_source
    from depth_anything_3.inputs.video.reconnect import ReconnectingSource

    def opened() -> FrameSource:
        return open_source(source, on_error="skip", strategy=strategy, device=choose_device(device))

    return ReconnectingSource(opened, reconnect) if "://" in source else opened()


def _tell(failure: ImageFailure) -> None:
    stderr.print(f"{failure.label}: {failure.error}", markup=False)


@contextmanager
def _window(title: str) -> Iterator[Show]:
    from depth_anything_3.jobs.live import WindowViewer

    window = WindowViewer(f"{title}: camera | depth")
    try:
        yield lambda picture, text, _seconds: window.show(picture, text)
    finally:
        window.close()


@contextmanager
def _page(stream: LiveStream, address: tuple[str, int], title: str) -> Iterator[Show]:
    from depth_anything_3.jobs.live import WebViewer

    web = WebViewer(*address, title, lambda: _numbers(stream))
    stdout.print(f"watch at {web.url}", markup=False)
    if not web.is_local:
        stderr.print("[yellow]Whoever reaches this machine can watch:[/] there is no password.")

    def show(picture: Any, _text: str, _seconds: float) -> bool:
        web.show(picture)
        return True

    try:
        yield show
    finally:
        web.close()


@contextmanager
def _recorder(target: Path) -> Iterator[Show]:
    """Writes what is shown; the file is whole when the block ends, however it does."""
    import cv2

    from depth_anything_3.export.video_file import VideoWriter, join_parts

    writer, size = VideoWriter(target), None

    def show(picture: Any, _text: str, seconds: float) -> bool:
        nonlocal size
        size = size or picture.shape[1::-1]
        # A stream may come back in another size than it had.
        writer.write(picture if picture.shape[1::-1] == size else cv2.resize(picture, size), seconds)
        return True

    try:
        yield show
    finally:
        writer.close()
        if writer.frames:
            join_parts(target)
            stdout.print(f"recorded {writer.frames} frames: {target}", markup=False)


def _check_recording(target: Path) -> None:
    from depth_anything_3.export.video_file import part_files
    from depth_anything_3.runtime.pyav import NEEDS_PYAV, has_pyav

    if target.suffix != ".mp4":
        raise InvalidInputError(f"--record {target}: recordings are .mp4 files")
    if not has_pyav():
        raise UnsupportedError(NEEDS_PYAV)
    for part in part_files(target):
        raise InvalidInputError(f"{part}: left by a recording that was killed, and plays; rename or remove it first")


def _numbers(stream: LiveStream) -> Mapping[str, str]:
    """What stands below the picture in a browser."""
    stats = stream.stats
    numbers = {
        "frames a second": f"{stats.fps:.1f}",
        "latency": f"{1e3 * stats.p50:.0f} ms (p95 {1e3 * stats.p95:.0f}, p99 {1e3 * stats.p99:.0f})",
        "dropped": f"{stats.dropped} of {stats.captured}",
    }
    lost = getattr(stream.source, "reconnections", 0)
    return {**numbers, "reconnections": str(lost)} if lost else numbers


def _watch(stream: LiveStream, shows: Sequence[Show]) -> None:
    """Draw each result and give it to all that show it, until one of them was closed or the source ends."""
    from depth_anything_3.jobs.live import LivePicture

    draw, told, text, began = LivePicture(), 0.0, "", None
    with stderr.status("waiting for the first frame") as status:
        for frame, prediction in stream:
            began = frame.time if began is None else began
            if time.monotonic() - told > _TELL_EVERY:
                told, text = time.monotonic(), str(stream.stats)
                status.update(text)
            picture = draw(prediction, frame.time)
            going_on = [show(picture, text, frame.time - began) for show in shows]
            if not all(going_on):
                return
