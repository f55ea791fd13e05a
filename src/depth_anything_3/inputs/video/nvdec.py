"""Decode video files with an NVIDIA GPU's video engine (NVDEC) through torchcodec.

Videos that the engine does not support are rejected before the first frame, and PyAV decodes them.
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
from depth_anything_3.inputs.video.selection import FrameSelection, FrameSelector
from depth_anything_3.runtime.packages import check_cuda_build, package_version, require_min_version

if TYPE_CHECKING:
    import torch

__all__ = ["NvdecSource", "nvdec_unsupported_reason"]

NAME = "torchcodec"

_FRAMES_PER_CALL = 8  # 200 MB at 4K
_DEFAULT_FPS = 25.0
_PIXEL_FORMATS = ("yuv420p", "yuvj420p", "nv12")


def nvdec_unsupported_reason(video: VideoTraits, device: torch.device | None) -> str | None:
    """Return why a video cannot be decoded on a GPU, or None if it may be. Loads no library.

    Args:
        video: properties of the video from PyAV.
        device: the network's device; None means the CPU.
    """
    if device is None or device.type != "cuda":
        return "no CUDA device, so PyAV decodes on the CPU"
    if not video.plain:
        return "frames need rotation or stretching, which only PyAV does"
    if video.pixel_format not in _PIXEL_FORMATS:
        return f"pixel format {video.pixel_format}; the GPU decoder supports 8-bit 4:2:0"
    if video.jumps:
        return "the clock of this container may jump, which only PyAV corrects"
    try:
        version = package_version(NAME, extra="torchcodec")
        require_min_version(
            NAME, version, (0, 17), why="older versions do not report whether the GPU decodes", extra="torchcodec"
        )
        check_cuda_build(NAME, version, device.type)
    except UnsupportedError as error:
        return str(error)
    return None if importlib.util.find_spec(NAME) else f"{NAME} cannot be found"


class NvdecSource(FrameSource):
    """Frames as (3, H, W) uint8 tensors on the GPU. If the GPU decoder fails, PyAV decodes the remaining frames.

    Args:
        path: path of the file.
        selection: which frames to return.
        info: properties of the file from PyAV.
        device: CUDA device.
        on_error: what PyAV does about damage.

    Raises:
        VideoReadError: torchcodec cannot be loaded, or the GPU does not support this video.
    """

    def __init__(
        self, path: str, selection: FrameSelection, info: SourceInfo, device: torch.device | None, *, on_error: OnError
    ) -> None:
        try:
            import torch
            from torchcodec.decoders import VideoDecoder

            # NVDEC waits for the colour conversion, which runs on the current stream: there, after the network.
            self._stream = torch.cuda.Stream(device)
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
        """Yield frames; raise VideoDecodeError at damage, unless `on_error` is "skip"."""
        import torch

        metadata = self._decoder.metadata
        origin, finish = float(metadata.begin_stream_seconds), float(metadata.end_stream_seconds)
        selector, index = self._selection.selector(origin), 0
        position = self._selection.seek_time(origin)
        last = position - 1.0
        step = _FRAMES_PER_CALL / (self.info.fps or _DEFAULT_FPS)
        while position < finish and not self._stopped.is_set() and not selector.is_past(position):
            window = position, min(position + step, finish)
            try:
                times, images, ready = self._decode(window, last, selector)
            except RuntimeError:  # damaged or unsupported: PyAV determines which
                yield from self._by_pyav(last, index)
                return
            for last in times:
                image = images.pop(last, None)
                if image is not None:
                    if image.is_cuda:
                        image.record_stream(torch.cuda.current_stream(image.device))
                    yield Frame(image, last, index, time.monotonic(), ready)
                index += 1
                if self._stopped.is_set():
                    return
            position = window[1]
        if not self._stopped.is_set():
            selector.check_start(self.info.label, finish)

    def close(self) -> None:
        """End an iteration in progress at its next frame."""
        self._stopped.set()

    def _decode(
        self, window: tuple[float, float], last: float, selector: FrameSelector
    ) -> tuple[list[float], dict[float, torch.Tensor], torch.cuda.Event]:
        """Decode the frames after `last` that are displayed within a window of time, and wait for them.

        Returns:
            The time of each frame, the selected images by their time, and the event that was waited for. The wait costs
            little, because decoding has waited for all but the last conversion; so any thread may use the frames.
        """
        import torch

        with torch.cuda.stream(self._stream):
            batch = self._decoder.get_frames_played_in_range(*window)
            new: dict[float, torch.Tensor] = {}
            for image, seconds in zip(batch.data, batch.pts_seconds.tolist(), strict=True):
                if seconds > last:  # else displayed since before the window
                    new[seconds], last = image, seconds
            taken = [seconds for seconds in new if selector.selects(seconds)]
            # Each image is a view of the whole block, which it would keep in memory.
            images = {one: new[one] if len(taken) == len(new) else new[one].clone() for one in taken}
            ready = torch.cuda.Event(blocking=True)
            ready.record(self._stream)
        ready.synchronize()
        return list(new), images, ready

    def _by_pyav(self, last: float, index: int) -> Iterator[Frame]:
        selection = replace(self._selection, after=max(last, self._selection.after or last))
        with PyAVSource(f"file:{self._path}", self._path, selection, on_error=self._on_error) as rest:
            for frame in rest:
                if self._stopped.is_set():
                    return
                yield replace(frame, index=index)
                index += 1
