"""Frames in, an MP4 file out (H.264, 8 bits, 4:2:0), by PyAV."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["NEEDS_AV", "can_write_mp4", "write_mp4"]

NEEDS_AV = "an mp4 needs PyAV: pip install 'depth-anything-3-fast[video]'"


def can_write_mp4() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def write_mp4(
    path: Path, frames: Iterable[npt.NDArray[np.uint8]], fps: int, *, crf: int = 18, preset: str = "medium"
) -> None:
    """Encode frames as they come.

    Args:
        path: the file.
        frames: at least one; (H, W, 3) uint8 RGB, all of one size. An odd last row or column is doubled, since 4:2:0
            takes even sizes.
        fps: frames per second.
        crf: x264's constant rate factor; less is better and larger.
        preset: x264's, such as "slow".

    Raises:
        UnsupportedError: PyAV, or its H.264 encoder, is not there.
        ExportError: the file cannot be written.
    """
    try:
        import av
    except ImportError as missing:
        raise UnsupportedError(NEEDS_AV) from missing
    if "libx264" not in av.codecs_available:
        raise UnsupportedError("an mp4 needs the x264 encoder, which this build of PyAV lacks; install PyAV's wheel")
    with atomic_write(path) as aside, av.open(str(aside), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf), "preset": preset})
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if number == 0:
                stream.height, stream.width = even.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
