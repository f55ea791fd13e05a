"""Draw the frames of a depth video, and extract frames of a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import VideoReadError
from depth_anything_3.export.colormap import Colormap, colorize_depth
from depth_anything_3.export.image_file import write_image
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import Frame, FrameSelection, VideoInput, open_source
from depth_anything_3.prediction import Prediction

__all__ = ["colorize_frame", "depth_levels", "extract_frames"]

_MAX_LEVEL = 65535
_DEFAULTS = PreprocessOptions()

UInt8Array = npt.NDArray[np.uint8]


def colorize_frame(
    frame: Frame,
    prediction: Prediction,
    inverse_range: tuple[float, float] | None,
    *,
    colormap: Colormap = Colormap.SPECTRAL,
    side_by_side: bool = False,
    full_size: bool = False,
    preprocess: PreprocessOptions = _DEFAULTS,
) -> UInt8Array:
    """Colour the depth of a frame.

    Args:
        frame: the decoded frame.
        prediction: of the frame.
        inverse_range: range of inverse depth that the colours cover; None: the range of this frame.
        colormap: colours.
        side_by_side: put the frame to the left of its depth.
        full_size: draw at the size of the frame instead of the network's.
        preprocess: with which `prediction` was computed, for frames that are files.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    assert prediction.processed_images is not None
    depth, image = prediction.depth[0], prediction.processed_images[0]
    if full_size:
        height, width = prediction.source_hw[0]
        depth = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR))
        image = pixels_of(frame, preprocess) if side_by_side else image
    coloured = colorize_depth(depth, inverse_range, colormap)
    return np.hstack([image, coloured]) if side_by_side else coloured


def depth_levels(prediction: Prediction, scale: float) -> npt.NDArray[np.uint16]:
    """Quantise depth to steps of `scale`: (H, W) uint16, 0 for invalid depth, clipped to 65535."""
    depth = prediction.depth[0]
    known = np.isfinite(depth) & (depth > 0)
    levels = np.zeros(depth.shape, np.uint16)
    levels[known] = np.clip(np.rint(depth[known].astype(np.float64) / scale), 1, _MAX_LEVEL)
    return levels


def pixels_of(frame: Frame, preprocess: PreprocessOptions = _DEFAULTS) -> UInt8Array:
    """Convert a frame to (H, W, 3) uint8 RGB in CPU memory; a file is decoded as for the network, at full size."""
    if isinstance(frame.data, Path):
        return ImagePreparer(replace(preprocess, fidelity=Fidelity.EXACT)).upright(frame.index, frame.data)
    image = frame.image
    if isinstance(image, np.ndarray):
        return image
    assert not isinstance(image, Path)
    return np.asarray(image.permute(1, 2, 0).cpu().numpy(), np.uint8)


def extract_frames(
    source: VideoInput,
    folder: Path,
    selection: FrameSelection,
    *,
    raw: str | None = None,
    preprocess: PreprocessOptions = _DEFAULTS,
) -> list[Path]:
    """Write frames of a video as `000000.png`, `000001.png` and so on, to use them as views of one scene.

    Args:
        source, raw: as for `open_source`.
        selection: the frames to extract.
        folder: created if missing; frames that an earlier call wrote are removed.
        preprocess: for frames that are files: whether to apply their orientation, and limits.

    Raises:
        VideoReadError: the video cannot be opened, is damaged, or no frame is selected.
        ExportError: a file cannot be written.
    """
    for old in folder.glob("[0-9]*.png"):
        old.unlink()
    paths: list[Path] = []
    with open_source(source, raw=raw, **selection.kwargs()) as opened:
        for frame in opened:
            paths.append(write_image(folder / f"{len(paths):06d}.png", pixels_of(frame, preprocess), "PNG"))
    if not paths:
        raise VideoReadError(f"{opened.info.label}: no frames between these times")
    return paths
