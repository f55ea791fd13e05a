"""Define `da3 webcam`, which shows live depth in a window or a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import escape_message, load_model, stderr, stdout
from depth_anything_3.cli.flag_groups import Omit, grouped
from depth_anything_3.cli.messages import flags_of
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.jobs.live.job import OpenPage

__all__ = ["webcam"]

_NOT_LIVE = ("on_error", "mixed_sizes", "executor", "num_workers", "max_pixels", "max_bytes", "allow_truncated", "exif")

_MODEL = o.ModelFlags(model_dir="depth-anything/DA3-SMALL")
_PREPROCESS = PreprocessOptions(on_error=OnError.SKIP)


@grouped
def webcam(
    source: Annotated[
        str,
        typer.Argument(
            help="Camera (0, /dev/video0), URL (rtsp://, http://, udp://), or a video file, played in real time.",
            metavar="SOURCE",
        ),
    ] = "0",
    *,
    http: Annotated[
        str,
        typer.Option(
            help="Serve a page at this address instead of opening a window. Without HOST, only this machine can "
            "open it. Needs the extra serve.",
            metavar="[HOST:]PORT",
            rich_help_panel="Output",
        ),
    ] = "",
    record: Annotated[
        Path | None,
        typer.Option(help="Also record the display to this .mp4 file.", metavar="FILE", rich_help_panel="Output"),
    ] = None,
    colormap: o.ColormapName = Colormap.SPECTRAL.value,
    model: o.ModelFlags = _MODEL,
    temporal: Annotated[
        str,
        typer.Option(
            help="Temporal smoothing of scale and shift (ema), or none.", metavar="ema|none", rich_help_panel="Output"
        ),
    ] = "ema",
    reconnect: Annotated[
        float,
        typer.Option(
            help="Seconds to keep trying when the connection to a URL is lost (0: stop).",
            metavar="SECONDS",
            rich_help_panel="Input",
        ),
    ] = 60.0,
    preprocess: Annotated[PreprocessOptions, Omit(_NOT_LIVE)] = _PREPROCESS,
) -> None:
    """Show live depth of the newest frame: camera left, depth right. Press Ctrl-C to stop."""
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
    outputs = check_outputs(http, record, colormap)
    open_page = _web_viewer() if outputs.address is not None else None
    flags = flags_of([webcam])
    with open_live_source(source, target, reconnect=reconnect, preprocess=preprocess) as frames:
        loaded = load_model(model)
        with stderr.status("") as status:

            def page(url: str, is_local: bool) -> None:
                status.stop()  # it would overwrite what is printed to stdout
                stdout.print(f"watch at {url}", markup=False)
                if not is_local:
                    stderr.print("[yellow]Anyone who can reach this machine can watch:[/] there is no password.")
                status.start()

            def recorded(count: int, file: Path) -> None:
                status.stop()
                stdout.print(f"recorded {count} frames: {file}", markup=False)

            events = LiveEvents(
                status=status.update,
                page=page,
                recorded=recorded,
                failed=lambda failure: stderr.print_error(escape_message(f"{failure.label}: {failure.error}", flags)),
            )
            stats = watch(loaded.engine, frames, outputs, events, options, open_page)
    stdout.print(str(stats), markup=False)


def _web_viewer() -> OpenPage:
    """Return what serves the page.

    Raises:
        UnsupportedError: a package is missing.
    """
    from depth_anything_3.services.server.run import check_installed

    check_installed()
    from depth_anything_3.services.live_page.viewer import WebViewer

    return WebViewer
