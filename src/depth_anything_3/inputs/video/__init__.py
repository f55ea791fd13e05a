"""Read timestamped frames from files, image sequences, cameras, network streams, raw frames and iterables."""

from depth_anything_3.inputs.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.inputs.video.iterable import IterableSource
from depth_anything_3.inputs.video.open import VideoInput, open_source
from depth_anything_3.inputs.video.selection import FrameSelection, SelectionKwargs, parse_time

__all__ = [
    "DecoderChoice",
    "Frame",
    "FrameSelection",
    "FrameSource",
    "IterableSource",
    "SelectionKwargs",
    "SourceInfo",
    "VideoInput",
    "open_source",
    "parse_time",
]
