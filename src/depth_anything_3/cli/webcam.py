"""`da3 webcam`: live depth of a camera or stream, in a window or a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import load_model, stderr, stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["webcam"]

_NOT_LIVE = ("on_error", "mixed_sizes", "executor", "num_workers", "max_pixels", "max_bytes", "allow_truncated", "exif")

_MODEL = o.ModelFlags(model_dir="depth-anything/DA3-SMALL")
_PREPROCESS = PreprocessOptions(on_error=OnError.SKIP)


@grouped
def webcam(
    source: Annotated[
        str,
        typer.Argument(help="Camera (0, /dev/video0), address (rtsp://, http://, udp://), or a file, in real time."),
    ] = "0",
    model: o.ModelFlags = _MODEL,
    preprocess: Annotated[PreprocessOptions, Omit(_NOT_LIVE)] = _PREPROCESS,
    http: Annotated[
        str, typer.Option(help="Show it to browsers at [HOST:]PORT instead of in a window; HOST: this machine only.")
    ] = "",
    record: Annotated[Path | None, typer.Option(help="Also write what is shown to this .mp4 file.")] = None,
    temporal: Annotated[
        str, typer.Option(help="Temporal smoothing: of scale and shift (ema), or none.", metavar="ema|none")
    ] = "ema",
    reconnect: Annotated[
        float, typer.Option(help="Keep reconnecting to an address for this many seconds (0: stop).")
    ] = 60.0,
) -> None:
    """Watch live depth: camera left, depth right; always of the newest frame. Ctrl-C ends it."""
    from depth_anything_3.inference.options import StreamOptions
    from depth_anything_3.inference.video.options import VideoMode, VideoOptions
    from depth_anything_3.inference.video.temporal_smoothing import Temporal
    from depth_anything_3.jobs.destination import check_device
    from depth_anything_3.jobs.live.job import LiveEvents, check_outputs, open_live_source, watch
    from depth_anything_3.runtime.devices import choose_device

    target = choose_device(model.device)
    options = VideoOptions(
        mode=VideoMode.LIVE, temporal=Temporal(temporal), stream=StreamOptions(preprocess=preprocess)
    )
    check_device(target, preprocess)
    outputs = check_outputs(http, record)
    with open_live_source(source, target, reconnect=reconnect, strategy=preprocess.strategy) as frames:
        loaded = load_model(model)
        with stderr.status("") as status:

            def page(url: str, is_local: bool) -> None:
                status.stop()  # it would take what goes to stdout for its own
                stdout.print(f"watch at {url}", markup=False)
                if not is_local:
                    stderr.print("[yellow]Whoever reaches this machine can watch:[/] there is no password.")
                status.start()

            def recorded(count: int, file: Path) -> None:
                status.stop()
                stdout.print(f"recorded {count} frames: {file}", markup=False)

            events = LiveEvents(
                status=status.update,
                page=page,
                recorded=recorded,
                failed=lambda failure: stderr.print(f"{failure.label}: {failure.error}", markup=False),
            )
            stats = watch(loaded.engine, frames, outputs, events, options)
    stdout.print(str(stats), markup=False)
