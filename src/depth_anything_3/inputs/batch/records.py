"""Records of an image before batching: planned, opened, prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.inputs.yuv_planes import YuvPlanes

if TYPE_CHECKING:
    import torch

__all__ = ["ON_CPU", "OpenedImage", "PlannedImage", "PreparedImage", "UInt8Array"]

UInt8Array = npt.NDArray[np.uint8]

ON_CPU = RoutingDecision(Strategy.CPU, "the network is on the CPU")


@dataclass(frozen=True, eq=False, kw_only=True)
class PlannedImage:
    """An image without its pixels: label, plan, routing decision and timings.

    Attributes:
        index: index in the caller's list.
        label: name in messages and reports.
        plan: resize geometry.
        choice: the strategy and its reason.
        decode_seconds, resample_seconds: time spent in each stage; decoding includes reading the file.
        exif: EXIF block, from which the focal length is read; empty if there is none.
        warnings: what is wrong with the file although it was decoded; each text begins with the label.
    """

    index: int
    label: str
    plan: ResizePlan
    choice: RoutingDecision = ON_CPU
    decode_seconds: float = 0.0
    resample_seconds: float = 0.0
    exif: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenedImage(PlannedImage):
    """An image whose pixels are still encoded or full-size.

    Attributes:
        data: an encoded file, or full-size uint8 pixels: an array (H, W, 3), (H, W, 4) or (H, W), a tensor (3, H, W) on
            any device, or the planes of a frame.
        header: header of an encoded file; None for pixels.
        min_hw: minimum stored (height, width) to decode at; None requires full size.
        allow_truncated: whether to decode a truncated or damaged file as far as possible.
        ready: CUDA event after which a tensor is complete; None if it is written on the caller's current stream.
    """

    data: Buffer | UInt8Array | torch.Tensor | YuvPlanes
    header: ImageHeader | None = None
    min_hw: tuple[int, int] | None = None
    allow_truncated: bool = False
    ready: torch.cuda.Event | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedImage(PlannedImage):
    """An image ready for a batch, in CPU memory.

    Attributes:
        pixels: (3, height, width) uint8 RGB, upright.
        normalized: their normalised values, (3, height, width) float32, if the worker was asked for them.
    """

    pixels: UInt8Array
    normalized: npt.NDArray[np.float32] | None = None
