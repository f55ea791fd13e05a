"""The `FrameSource` interface, its `Frame`s, and the `SourceInfo` known before the first frame."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.image_source import ImageInput, ImageSource, as_source
from depth_anything_3.inputs.yuv_planes import YuvPlanes

if TYPE_CHECKING:
    import torch

__all__ = ["DecoderChoice", "Frame", "FrameSource", "SourceInfo"]

Source = TypeVar("Source", bound="FrameSource")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        data: what `image` returns; or, below fidelity "exact", the planes of the decoder. The source never reuses the
            memory.
        time: presentation time in seconds by the source's clock; for cameras, since the first frame.
        index: index among all frames since reading began, including those not selected.
        captured: `time.monotonic()` when the frame became available; latency is measured from it.
        ready: CUDA event after which `data` is complete; NVDEC frames are yielded after it. None: the image is on the
            CPU, or complete in the order of the iterating thread's current stream.
    """

    data: npt.NDArray[np.uint8] | torch.Tensor | Path | YuvPlanes
    time: float
    index: int
    captured: float
    ready: torch.cuda.Event | None = None

    def __repr__(self) -> str:
        """Return the time, the index, and the shape of the image without its pixels."""
        return f"Frame({_described(self.data)}, time={self.time:.6g}, index={self.index})"

    @property
    def image(self) -> npt.NDArray[np.uint8] | torch.Tensor | Path:
        """The image.

        (H, W, 3) uint8 RGB, upright, in CPU memory; or (3, H, W) uint8 RGB on a device; or, in an image sequence, the
        path of a file, which the input pipeline decodes. Planes are converted on first use.

        Raises:
            VideoReadError: the colours of planes cannot be converted.
        """
        return self.data.rgb if isinstance(self.data, YuvPlanes) else self.data

    def as_input(self) -> ImageInput | ImageSource:
        """Return the frame as the input pipeline takes it, which checks it there."""
        if self.ready is None and not isinstance(self.data, YuvPlanes):
            return self.data
        return self.as_source()

    def as_source(self) -> ImageSource:
        """Return the image or its planes, with its event, as the input pipeline takes it.

        Raises:
            ImageTypeError, ImageSizeError: the image is not accepted.
        """
        if isinstance(self.data, YuvPlanes):
            return ImageSource(f"image {self.index} (frame {_described(self.data)})", self.data)
        return replace(as_source(self.data, self.index), ready=self.ready)


def _described(image: npt.NDArray[np.uint8] | torch.Tensor | Path | YuvPlanes) -> str:
    if isinstance(image, Path):
        return repr(os.fspath(image))
    if isinstance(image, YuvPlanes):
        return f"{'x'.join(map(str, image.upright_hw))} YUV"
    device = "" if isinstance(image, np.ndarray) else f" on {image.device}"
    return f"{'x'.join(map(str, image.shape))} {str(image.dtype).removeprefix('torch.')}{device}"


@dataclass(frozen=True)
class DecoderChoice:
    """The decoder of a source ("torchcodec", "pyav", "opencv", "images", "none"), and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class SourceInfo:
    """Properties of a source that are known before its first frame.

    Attributes:
        label: name in messages and reports: its path or address, or a description.
        decoder: the decoder, and the reason.
        size_hw: (height, width) of the upright frames in pixels; None if unknown before the first frame.
        fps: average frames per second before selection; None if unknown.
        duration: duration in seconds as stated by the file; None if unknown or endless.
        live: whether frames arrive at their own rate and are lost if not read.
    """

    label: str
    decoder: DecoderChoice
    size_hw: tuple[int, int] | None = None
    fps: float | None = None
    duration: float | None = None
    live: bool = False


class FrameSource(ABC):
    """Iterator over frames in time order, usable once; a context manager.

    `close()` may be called at any time, from any thread, and repeatedly: an iteration in progress then ends normally.
    """

    info: SourceInfo

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def close(self) -> None:
        """Release the source's resources."""

    def __enter__(self: Source) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
