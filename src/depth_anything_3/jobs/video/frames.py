"""Make the images of a depth video, and extract frames of a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from depth_anything_3.errors import VideoReadError
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.export.image_file import write_image
from depth_anything_3.inputs.image_source import read_file
from depth_anything_3.inputs.pillow_open import open_image
from depth_anything_3.inputs.video import Frame, FrameSelection, VideoInput, open_source
from depth_anything_3.prediction import Prediction

__all__ = ["coloured_picture", "depth_levels", "extract_frames"]

_MAX_VALUE = 65535

UInt8Array = npt.NDArray[np.uint8]


def coloured_picture(
    frame: Frame,
    prediction: Prediction,
    within: tuple[float, float] | None,
    *,
    side_by_side: bool = False,
    full_size: bool = False,
) -> UInt8Array:
    """Depth in colours.

    Args:
        frame: as decoded.
        prediction: of it.
        within: range of inverse depth that the colours cover; None: of this frame alone.
        side_by_side: the frame to the left.
        full_size: of the frame's size, not the network's.

    Returns:
        (H, W, 3) uint8 RGB; near is red, far is blue.
    """
    assert prediction.processed_images is not None
    depth, picture = prediction.depth[0], prediction.processed_images[0]
    if full_size:
        height, width = prediction.source_hw[0]
        depth = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR))
        picture = pixels_of(frame) if side_by_side else picture
    coloured = colorize_depth(depth, within)
    return np.hstack([picture, coloured]) if side_by_side else coloured


def depth_levels(prediction: Prediction, scale: float) -> npt.NDArray[np.uint16]:
    """Depth in steps of `scale`, (H, W) uint16; 0 where there is none, and 65535 for what is beyond."""
    depth = prediction.depth[0]
    known = np.isfinite(depth) & (depth > 0)
    levels = np.zeros(depth.shape, np.uint16)
    levels[known] = np.clip(np.rint(depth[known].astype(np.float64) / scale), 1, _MAX_VALUE)
    return levels


def pixels_of(frame: Frame) -> UInt8Array:
    """(H, W, 3) uint8 RGB in the CPU's memory."""
    if isinstance(frame.image, Path):
        image = open_image(read_file(frame.image), str(frame.image))
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(frame.image, np.ndarray):
        return frame.image
    return np.asarray(frame.image.permute(1, 2, 0).cpu().numpy(), np.uint8)


def extract_frames(
    source: VideoInput, folder: Path, selection: FrameSelection, *, raw: str | None = None
) -> list[Path]:
    """Write frames of a video as PNGs, `000000.png` and on, to be views of one scene.

    Args:
        source, raw: what to read; see `open_source`.
        selection: which frames.
        folder: made if missing; frames of an earlier video in it are removed.

    Raises:
        VideoReadError: the video cannot be opened, is damaged, or has no such frames.
        ExportError: a file cannot be written.
    """
    for old in folder.glob("[0-9]*.png"):
        old.unlink()
    paths: list[Path] = []
    with open_source(source, raw=raw, **selection.kwargs()) as opened:
        for frame in opened:
            paths.append(write_image(folder / f"{len(paths):06d}.png", pixels_of(frame), "PNG"))
    if not paths:
        raise VideoReadError(f"{opened.info.label}: no frames between these times")
    return paths
