"""What every source of video frames gives: `Frame`s, one after the other, and what is known of them beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["DecoderChoice", "Frame", "FrameSource", "SourceInfo"]

Source = TypeVar("Source", bound="FrameSource")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright, in the CPU's memory; or (3, H, W) uint8 RGB on a device; or, of an image
            sequence, the path of a file, which the input pipeline decodes in its own ways. The receiver's own: it is
            never filled again.
        time: seconds of presentation, by the source's own clock; of cameras since their first frame.
        index: its place among all frames of the source from where reading began, also those not selected.
        captured: `time.monotonic()` when the frame was there to be taken; latency is counted from it.
    """

    image: npt.NDArray[np.uint8] | torch.Tensor | Path
    time: float
    index: int
    captured: float


@dataclass(frozen=True)
class DecoderChoice:
    """What decodes a source ("torchcodec", "pyav", "opencv", "images", "none"), and why that."""

    name: str
    reason: str


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its first frame.

    Attributes:
        label: how messages and reports name it: its path or address, or what it is.
        size_hw: (height, width) of the upright frames in pixels; None where the first frame will tell.
        fps: frames a second on average, before any are left out; None if not known.
        duration: seconds, as the file says; None if not known or without end.
        live: frames come at their own rate and are lost if nobody takes them.
        decoder: what decodes it, and why.
    """

    label: str
    decoder: DecoderChoice
    size_hw: tuple[int, int] | None = None
    fps: float | None = None
    duration: float | None = None
    live: bool = False


class FrameSource(ABC):
    """Frames in the order of their times, gone through once; a context manager.

    `close()` may be called at any time, from any thread, and more than once: an iteration under way then ends, as if
    the source had.
    """

    info: SourceInfo

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""

    def __enter__(self: Source) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
