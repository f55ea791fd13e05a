"""Make videos of a moving photo-like scene for the video benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.diagnostics.synthetic import photo

__all__ = ["moving_scene", "repeat_video", "write_video"]

_STEP = (2, 1)  # pixels to the right and down from frame to frame, of an image 1280 wide
_NOISE = 2.0  # levels, new in every frame as a sensor's is
_BITS_A_PIXEL = 0.15  # as cameras record: 9 megabits a second at 1080p30, 37 at 4K
_ENCODERS = {
    "H.264": ("libx264", {"preset": "veryfast", "x264-params": "log=-1"}),
    "H.265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
}


def moving_scene(width: int, height: int, frames: int, seed: int = 0) -> Iterator[npt.NDArray[np.uint8]]:
    """Make frames (H, W, 3) uint8 RGB of a camera that pans over a photo-like image, each with new noise."""
    right, down = (step * max(1, round(width / 1280)) for step in _STEP)
    wide = photo(width + right * frames, height + down * frames, seed)
    rng = np.random.default_rng(seed)
    noise = np.rint(rng.normal(0, _NOISE, (height + 64, width + 64, 3))).astype(np.int16)
    for number in range(frames):
        y, x = rng.integers(0, 64, 2)
        view = wide[number * down : number * down + height, number * right : number * right + width]
        noisy = cv2.add(view.astype(np.int16), np.ascontiguousarray(noise[y : y + height, x : x + width]))
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def write_video(path: Path, codec: str, width: int, height: int, frames: int, fps: int = 30) -> float:
    """Encode the moving scene as "H.264" or "H.265", 4:2:0; returns its megabits a second."""
    encoder, options = _ENCODERS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=Fraction(fps), options=dict(options))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.bit_rate = round(_BITS_A_PIXEL * width * height * fps)
        for image in moving_scene(width, height, frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return 8e-6 * path.stat().st_size * fps / frames


def repeat_video(path: Path, longer: Path, times: int) -> None:
    """Repeat the frames of a video as one long video, without encoding again."""
    with av.open(str(longer), "w") as container:
        stream, length = None, 0
        for number in range(times):
            with av.open(str(path)) as once:
                source = once.streams.video[0]
                stream = stream or container.add_stream_from_template(source)
                length = source.duration
                for packet in once.demux(source):
                    if packet.size:
                        packet.pts += number * length
                        packet.dts += number * length
                        packet.stream = stream
                        container.mux(packet)
