"""`da3 webcam`: live depth of a camera or stream, in a window or a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import load_model, stderr, stdout
from depth_anything_3.errors import UnsupportedError

__all__ = ["webcam"]


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
    from depth_anything_3.inference.video.smoothing import Temporal
    from depth_anything_3.jobs.images import check_options
    from depth_anything_3.jobs.live.webcam import LiveEvents, check_outputs, open_live_source, watch

    mode, target = Temporal(temporal), choose_device(device)
    if mode is Temporal.WINDOW:
        raise UnsupportedError("--temporal window waits for frames to come, which live depth cannot; choose ema")
    options: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "strategy": strategy,
    }
    check_options(target, **options)
    outputs = check_outputs(http, record)
    with open_live_source(source, target, reconnect=reconnect, strategy=strategy) as frames:
        model = load_model(model_dir, device, dtype, compiled=compiled)
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
            stats = watch(model, frames, outputs, events, temporal=mode, **options)
    stdout.print(str(stats), markup=False)
