"""Video in, frames with their times out: files, image sequences, cameras, network streams, raw frames, iterables."""

from depth_anything_3.utils.io.video.frame import DecoderChoice, Frame, FrameSource, SourceInfo
from depth_anything_3.utils.io.video.iterable import IterableSource
from depth_anything_3.utils.io.video.selection import FrameSelection

__all__ = ["DecoderChoice", "Frame", "FrameSelection", "FrameSource", "IterableSource", "SourceInfo"]
