"""Video files in, frames in an NVIDIA GPU's memory out, decoded by its own engine (NVDEC) through torchcodec.

What the engine does not take is refused before the first frame, and PyAV decodes it.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from depth_anything_3.errors import UnsupportedError, VideoReadError
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.pyav import PyAVSource, VideoTraits
from depth_anything_3.inputs.video.selection import FrameSelection
from depth_anything_3.runtime.packages import check_cuda_build, check_least, package_version

if TYPE_CHECKING:
    import torch

__all__ = ["NvdecSource", "why_not_nvdec"]

NAME = "torchcodec"

_AT_A_TIME = 8  # frames; at 4K they take 200 MB
_USUAL_FPS = 25.0
_PIXEL_FORMATS = ("yuv420p", "yuvj420p", "nv12")


def why_not_nvdec(video: VideoTraits, device: torch.device | None) -> str | None:
    """Why a video is not decoded on a GPU; None if that can be tried. Nothing is loaded.

    Args:
        video: as PyAV sees it.
        device: of the network; None: the CPU.
    """
    if device is None or device.type != "cuda":
        return "no CUDA device, so PyAV decodes on the CPU"
    if not video.plain:
        return "frames must be turned or stretched, which PyAV's are"
    if video.pixel_format not in _PIXEL_FORMATS:
        return f"pixel format {video.pixel_format}; the GPU's way takes 8 bits, 4:2:0"
    try:
        version = package_version(NAME, extra="torchcodec")
        check_least(NAME, version, (0, 17), why="it does not say whether the GPU decodes", extra="torchcodec")
        check_cuda_build(NAME, version, device.type)
    except UnsupportedError as error:
        return str(error)
    return None if importlib.util.find_spec(NAME) else f"{NAME} cannot be found"


class NvdecSource(FrameSource):
    """Frames as (3, H, W) uint8 tensors on the GPU. Where its decoder fails on the way, PyAV goes on.

    Args:
        path: of the file.
        selection: which frames to take.
        info: what PyAV knows of the file.
        device: CUDA device.
        on_error: for what PyAV finds damaged.

    Raises:
        VideoReadError: torchcodec cannot be loaded, or this GPU does not decode this video.
    """

    def __init__(
        self, path: str, selection: FrameSelection, info: SourceInfo, device: torch.device | None, *, on_error: OnError
    ) -> None:
        try:
            from torchcodec.decoders import VideoDecoder

            self._decoder: Any = VideoDecoder(path, device=str(device), dimension_order="NCHW")  # Any: optional
            fallback = getattr(self._decoder, "cpu_fallback", None)
        except (ImportError, OSError, RuntimeError, ValueError) as error:  # native libraries, drivers, files
            raise VideoReadError(f"{NAME}: {str(error).strip().partition(chr(10))[0]}") from error
        if fallback:
            raise VideoReadError(f"{NAME}: {fallback}")
        self._path, self._selection, self._on_error = path, selection, on_error
        self._stopped = threading.Event()
        self.info = replace(info, decoder=DecoderChoice(NAME, f"NVDEC: frames are decoded on {device} and stay there"))

    def __iter__(self) -> Iterator[Frame]:
        """Raises VideoDecodeError where the video is damaged, unless that is skipped."""
        metadata = self._decoder.metadata
        origin, finish = float(metadata.begin_stream_seconds), float(metadata.end_stream_seconds)
        selector, index = self._selection.begin(origin), 0
        position = self._selection.sought(origin)
        last = position - 1.0
        step = _AT_A_TIME / (self.info.fps or _USUAL_FPS)
        while position < finish and not self._stopped.is_set() and not selector.is_past(position):
            window = position, min(position + step, finish)
            try:
                batch = self._decoder.get_frames_played_in_range(*window)
            except RuntimeError:  # damaged here, or out of the decoder's depth: PyAV tells which
                yield from self._by_pyav(last, index)
                return
            for image, seconds in zip(batch.data, batch.pts_seconds.tolist(), strict=True):
                if seconds <= last:  # still shown when the window begins
                    continue
                last = seconds
                if selector.takes(seconds):
                    yield Frame(image, seconds, index, time.monotonic())
                index += 1
                if self._stopped.is_set():
                    return
            position = window[1]

    def close(self) -> None:
        """End an iteration under way, at its next frame."""
        self._stopped.set()

    def _by_pyav(self, last: float, index: int) -> Iterator[Frame]:
        selection = replace(self._selection, after=max(last, self._selection.after or last))
        with PyAVSource(f"file:{self._path}", self._path, selection, on_error=self._on_error) as rest:
            for frame in rest:
                if self._stopped.is_set():
                    return
                yield replace(frame, index=index)
                index += 1
