"""Write `feat_vis`: features of the backbone in colour, beside the images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import FormatOptions
from depth_anything_3.export.image_file import write_jpeg
from depth_anything_3.export.labels import view_names
from depth_anything_3.export.video_file import write_mp4
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import positive_int
from depth_anything_3.runtime.pyav import NEEDS_PYAV, has_pyav

__all__ = ["FeatVisOptions", "colorize_features", "write"]

logger = logging.getLogger(__name__)

_DIRECTIONS = 16  # searched for; three are shown
_POWER_ITERATIONS = 2
_SEED = 0
_MIN_RANGE = 1e-4
_MAX_FEATURE = 1e6


@dataclass(frozen=True)
class FeatVisOptions(FormatOptions):
    """Options of `feat_vis`.

    Attributes:
        fps: frames per second of the video.
    """

    fps: int = field(default=15, metadata={"parameter": "feat_vis_fps"})

    def __post_init__(self) -> None:
        positive_int("feat_vis_fps", self.fps)


def colorize_features(features: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Show the three directions in which features vary most as red, green and blue.

    The directions are found by a randomised range finder (Halko, Martinsson and Tropp, SIAM Review 53(2), 2011) with a
    fixed seed; each is shown between its 10th and 90th percentile over all views.

    Args:
        features: (N, h, w, C); NaN counts as 0, infinity as 1e6 or -1e6.

    Returns:
        (N, h, w, 3) uint8.
    """
    *shape, channels = features.shape
    vectors = np.nan_to_num(np.asarray(features, np.float32), nan=0.0, posinf=_MAX_FEATURE, neginf=-_MAX_FEATURE)
    vectors = vectors.reshape(-1, channels)
    vectors = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    basis = np.random.default_rng(_SEED).standard_normal((channels, min(_DIRECTIONS, *vectors.shape)))
    basis = np.linalg.qr(basis)[0].astype(np.float32)
    for _ in range(_POWER_ITERATIONS + 1):
        basis = np.linalg.qr(vectors.T @ np.linalg.qr(vectors @ basis)[0])[0]
    _, _, turns = np.linalg.svd(vectors @ basis, full_matrices=False)
    projected = vectors @ (basis @ turns[:3].T)
    if projected.shape[1] < 3:  # fewer vectors or channels than colours
        projected = np.pad(projected, ((0, 0), (0, 3 - projected.shape[1])))
    low, high = np.percentile(projected, (10, 90), axis=0)
    shown = (np.clip(projected, low, high) - low) / np.maximum(high - low, _MIN_RANGE)
    colors: npt.NDArray[np.uint8] = (np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8).reshape(*shape, 3)
    return colors


def write(prediction: Prediction, export_dir: Path, name: str | None, options: FeatVisOptions) -> list[Path]:
    """Write, for each layer, a JPEG a view and a video: image left, features right.

    An independent image gets one JPEG with all layers side by side. Without PyAV no video is written, with a warning.

    Raises:
        InvalidInputError: the numbers of features and views differ.
        ExportError: a file cannot be written.
    """
    assert prediction.processed_images is not None
    for layer, features in prediction.aux.items():
        if len(features) != len(prediction.processed_images):
            views = len(prediction.processed_images)
            raise InvalidInputError(f"feat_vis: {layer} has features of {len(features)} views, but there are {views}")
    if name is not None:
        return _write_image_file(prediction, export_dir, name)
    if not has_pyav():
        logger.warning("feat_vis: only JPEGs are written; %s", NEEDS_PYAV)
    paths = []
    for layer, features in prediction.aux.items():
        folder = export_dir / "feat_vis" / layer
        colors = colorize_features(features)
        frames = [
            np.hstack([image, _enlarge(view, image)])
            for image, view in zip(prediction.processed_images, colors, strict=True)
        ]
        paths += [write_jpeg(folder / f"{number:06d}.jpg", frame) for number, frame in enumerate(frames)]
        if has_pyav():
            paths.append(export_dir / "feat_vis" / f"{layer}.mp4")
            write_mp4(paths[-1], frames, options.fps)
    return paths


def _write_image_file(prediction: Prediction, export_dir: Path, name: str) -> list[Path]:
    assert prediction.processed_images is not None
    colors = [colorize_features(features) for features in prediction.aux.values()]
    paths = []
    for view, (image, stem) in enumerate(zip(prediction.processed_images, view_names(prediction, name), strict=True)):
        row = np.hstack([image, *(_enlarge(layer[view], image) for layer in colors)])
        paths.append(write_jpeg(export_dir / "feat_vis" / f"{stem}.jpg", row))
    return paths


def _enlarge(colors: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(colors, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
