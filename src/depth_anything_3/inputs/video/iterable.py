"""Read frames from any iterable of arrays, tensors, image paths or `Frame`s."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageTypeError, InvalidInputError
from depth_anything_3.inputs.image_source import PilImage, as_source
from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.selection import FrameSelection

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_FPS", "FrameInput", "IterableSource"]

DEFAULT_FPS = 24.0
"""Frames per second of sources without timestamps."""

FrameInput = Union["npt.NDArray[np.uint8]", "torch.Tensor", str, "os.PathLike[str]", Frame]
"""The accepted types of one frame."""


class IterableSource(FrameSource):
    """Frames of an iterable, in its order. A generator must yield a new array each time, not reuse one buffer.

    Args:
        frames: iterable of `FrameInput`. Arrays and tensors as for images; `Frame`s retain their times.
        selection: which frames to return.
        fps: frames per second of frames without timestamps.
        label: name in messages.
        decoder: the decoder, and the reason.

    Raises:
        InvalidInputError: `fps` is not accepted.
    """

    def __init__(
        self,
        frames: Iterable[FrameInput],
        selection: FrameSelection | None = None,
        *,
        fps: float | None = None,
        label: str = "frames",
        decoder: DecoderChoice | None = None,
    ) -> None:
        self._rate = DEFAULT_FPS if fps is None else float(fps)
        if not 0 < self._rate < float("inf"):
            raise InvalidInputError(f"fps={fps!r}: give frames per second, greater than 0")
        self._frames = frames
        self._selection = selection or FrameSelection()
        self._closed = threading.Event()
        count = len(frames) if isinstance(frames, Sized) else None
        self.info = SourceInfo(
            label=label,
            decoder=decoder or DecoderChoice("none", "frames in memory"),
            fps=self._rate,
            duration=None if count is None else count / self._rate,
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames; raise ImageTypeError or ImageSizeError for an item that is not a frame.

        Raises:
            VideoReadError: all frames are before the start of the selection.
        """
        selector, end = None, 0.0
        for index, one in enumerate(self._frames):
            if self._closed.is_set():
                return
            frame = self._as_frame(one, index)
            selector, end = selector or self._selection.selector(frame.time), frame.time + 1 / self._rate
            if selector.is_past(frame.time):
                return
            if selector.selects(frame.time):
                yield frame
        if selector is not None and not self._closed.is_set():
            selector.check_start(self.info.label, end)

    def close(self) -> None:
        """End an iteration in progress before its next frame; the iterable itself is not closed."""
        self._closed.set()

    def _as_frame(self, one: FrameInput, index: int) -> Frame:
        if isinstance(one, Frame):
            return replace(one, index=index)
        data = as_source(one, index).data
        if isinstance(data, (bytes, bytearray, memoryview, Image.Image, PilImage, DA3Error)):
            raise ImageTypeError(f"frame {index} has type {type(one).__name__}; give uint8 arrays, tensors or paths")
        if isinstance(data, np.ndarray):
            data = np.stack([data] * 3, axis=-1) if data.ndim == 2 else data[..., :3]
        return Frame(data, index / self._rate, index, time.monotonic())
