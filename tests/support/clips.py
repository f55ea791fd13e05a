"""Small videos for tests, made by PyAV, and PyAV's own reading of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE_HW = (72, 96)
FPS = 30


def draw_image(number: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A frame of a soft pattern that moves, (H, W, 3) uint8 RGB."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float64)
    waves = [np.sin((x + 2 * number) / 9), np.cos((y - number) / 7), np.sin((x + y + 3 * number) / 13)]
    return np.stack([np.rint(128 + 90 * wave) for wave in waves], axis=-1).astype(np.uint8)


def write_clip(
    path: Path,
    frames: int = 24,
    *,
    size_hw: tuple[int, int] = SIZE_HW,
    fps: Fraction | int = FPS,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    pixel_ratio: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    colour: tuple[int, int] | None = None,
    audio: bool = False,
) -> Path:
    """Write moving `image`s; `times` in seconds make it one of variable rate, `colour` is (matrix, range)."""
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        options = {"threads": "1", **(options or {})}  # with more, x264 makes other bytes each time
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.height, stream.width = size_hw
        stream.pix_fmt = pixel_format
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        if rotation:
            stream.set_display_rotation(rotation)
        if pixel_ratio is not None:
            stream.codec_context.sample_aspect_ratio = pixel_ratio
        if colour is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw_image(number, size_hw), format="rgb24")
            if colour is not None:
                frame = frame.reformat(format=pixel_format, dst_colorspace=colour[0], dst_color_range=colour[1])
                frame.colorspace, frame.color_range = colour
            if times is not None:
                frame.time_base = Fraction(1, 90_000)
                frame.pts = round(times[number] * 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_clip(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times and RGB frames, as PyAV gives them by itself."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]
