"""An image at each stage on its way into a batch: planned, opened, prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.routing.strategy import Choice

if TYPE_CHECKING:
    import torch

__all__ = ["ON_CPU", "OpenedImage", "PlannedImage", "PreparedImage", "UInt8Array"]

UInt8Array = npt.NDArray[np.uint8]

ON_CPU = Choice(Strategy.CPU, "the network is on the CPU")


@dataclass(frozen=True, eq=False, kw_only=True)
class PlannedImage:
    """What is known of a picture on its way into a batch.

    Attributes:
        index: its place in the caller's list.
        label: how it is named in messages and reports.
        plan: the geometry that leads to its result.
        choice: the way it takes and why.
        decode_seconds, resample_seconds: time spent on each; decoding includes reading the file.
        exif: its Exif block, which tells of the lens; empty where there is none.
    """

    index: int
    label: str
    plan: ResizePlan
    choice: Choice = ON_CPU
    decode_seconds: float = 0.0
    resample_seconds: float = 0.0
    exif: bytes = b""


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenedImage(PlannedImage):
    """A picture before anything was done to its pixels.

    Attributes:
        data: an encoded file, or full-size pixels: an array of HxWx3, HxWx4 or HxW, or a tensor of 3xHxW on any device.
        header: of an encoded file; None for pixels.
        least_hw: the least (height, width), as stored, that it may be decoded at; None: full size.
        allow_truncated: decode it as far as it goes.
    """

    data: Buffer | UInt8Array | torch.Tensor
    header: ImageHeader | None = None
    least_hw: tuple[int, int] | None = None
    allow_truncated: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedImage(PlannedImage):
    """A picture ready for a batch: `pixels` (3, height, width) uint8 RGB, upright, in the CPU's memory."""

    pixels: UInt8Array
