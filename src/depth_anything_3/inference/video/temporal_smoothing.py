"""Temporal smoothing: align the depth of each frame to the one before by a scale and a shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.inference.video.robust_fit import fit_scale_shift, known_pixels
from depth_anything_3.inference.video.shot_detection import is_same_shot, thumbnail
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["ScaleShiftSmoother", "Temporal"]

FloatArray = npt.NDArray[np.floating]

_MIN_CORRECTION = 1e-4  # relative; a smaller one is rounding, and a still camera's depth stays as it is
_MIN_FACTOR = 0.05  # of a pixel's own inverse depth: a shift must not push distant pixels behind infinity
_MAX_FLASH_FRAMES = 5  # a flash of this length is not taken for two cuts


class Temporal(StringEnum):
    """How flicker of depth is removed: not at all, by scale and shift of each frame, or by windows of frames."""

    NONE = "none"
    EMA = "ema"
    WINDOW = "window"


class ScaleShiftSmoother:
    """Remove flicker from depth that was computed frame by frame.

    A network estimates the scale of each frame anew, and how strongly near and far differ. Each frame is therefore
    aligned to the result for the one before: inverse depth times a scale plus a shift, by robust least squares over
    pixels with depth and confidence, without the sky. What moves counts as outliers. The result mixes a share
    `smoothing` of the aligned frame with the frame as computed, so true changes of scale are followed, about
    1 / (1 - smoothing) frames later. A pixel keeps its own depth, up to that scale and shift: nothing smears.

    A cut restarts it; a flash does not. Not thread-safe.

    Args:
        smoothing: 0 (nothing is changed) to below 1.

    Raises:
        InvalidInputError: `smoothing` is not in that range.

    Example:
        >>> smoother = ScaleShiftSmoother()
        >>> for prediction in model.stream(frames):
        ...     show(smoother(prediction).depth[0])
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        if not 0 <= smoothing < 1:
            raise InvalidInputError(f"smoothing={smoothing!r}: give a number from 0 to below 1")
        self._smoothing = smoothing
        self._shots: list[_Shot] = []
        self.cuts = 0

    def __call__(self, prediction: Prediction) -> Prediction:
        """Smooth the next frame of a video.

        Args:
            prediction: of one frame (N = 1), with the image that the network saw.

        Returns:
            The same prediction, or a new one if its depth changes.

        Raises:
            ShapeMismatchError: it is of several views, or has no image.
        """
        if len(prediction.depth) != 1 or prediction.processed_images is None:
            raise ShapeMismatchError(
                "depth is smoothed frame by frame: pass predictions of one view, with processed_images"
            )
        small = thumbnail(prediction.processed_images[0])
        shot = next((one for one in self._shots if one.continues(prediction, small)), None)
        if shot is None:
            self.cuts += bool(self._shots)
        else:
            prediction = self._aligned(prediction, shot.inverse_depth)
        # Shots before this one are remembered for a while: after a flash the shot continues.
        others = (
            replace(one, ago=one.ago + 1) for one in self._shots if one is not shot and one.ago < _MAX_FLASH_FRAMES
        )
        self._shots = [_Shot(small, _inverse_depth(prediction)), *others]
        return prediction

    def _aligned(self, prediction: Prediction, before: FloatArray) -> Prediction:
        inverse_depth = _inverse_depth(prediction)
        scale, shift = fit_scale_shift(inverse_depth, before)
        scale, shift = 1 + self._smoothing * (scale - 1), self._smoothing * shift
        median = float(np.nanmedian(inverse_depth)) if np.isfinite(inverse_depth).any() else 1.0
        if abs(scale - 1) < _MIN_CORRECTION and abs(shift) < _MIN_CORRECTION * median:
            return prediction
        depth = prediction.depth
        with np.errstate(divide="ignore"):
            factor = np.maximum(scale + shift * depth, _MIN_FACTOR)  # of inverse depth; 1 / d to (s + t d) / d
        return replace(prediction, depth=np.asarray(depth / factor, np.float32))


@dataclass(frozen=True, eq=False)
class _Shot:
    """State of a shot: its last frame (thumbnail and inverse depth), and how many frames ago that was."""

    thumbnail: FloatArray
    inverse_depth: FloatArray
    ago: int = 0

    def continues(self, prediction: Prediction, small: FloatArray) -> bool:
        return self.inverse_depth.shape == prediction.depth.shape[1:] and is_same_shot(self.thumbnail, small)


def _inverse_depth(prediction: Prediction) -> FloatArray:
    """Inverse depth (H, W) of the pixels that a fit may use; NaN elsewhere."""
    depth, known = prediction.depth[0], known_pixels(prediction)[0]
    inverse: FloatArray = np.full(depth.shape, np.nan, np.float32)
    np.divide(1.0, depth, out=inverse, where=known)
    return inverse
