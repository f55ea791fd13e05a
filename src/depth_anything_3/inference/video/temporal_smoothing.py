"""Temporal smoothing: align the depth of each frame to the previous one by a scale and a shift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.inference.video.robust_fit import fit_scale_shift, known_pixels
from depth_anything_3.inference.video.shot_detection import is_same_shot, thumbnail
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["ScaleShiftSmoother", "Temporal", "TemporalName"]

FloatArray = npt.NDArray[np.floating]

_MIN_CORRECTION = 1e-4  # relative; a smaller one is rounding, and depth of a static camera stays unchanged
_MIN_FACTOR = 0.05  # of a pixel's own inverse depth: a shift must not push distant pixels beyond infinity
_MAX_FLASH_FRAMES = 5  # a flash of up to this length does not count as two cuts

TemporalName = Literal["none", "ema", "window"]
"""The strings of `Temporal`."""


class Temporal(StringEnum):
    """How flicker is removed from depth: not at all, by scale and shift of each frame, or by windows of frames."""

    NONE = "none"
    EMA = "ema"
    WINDOW = "window"


class ScaleShiftSmoother:
    """Removes flicker from depth that was computed frame by frame.

    A network estimates scale and contrast of depth independently for each frame. Each frame is therefore aligned to
    the result of the previous one by a scale and a shift of inverse depth, fitted by robust least squares over pixels
    with confident depth, without the sky; moving objects are outliers. The result blends the aligned frame, with weight
    `smoothing`, and the original one, so true changes of scale are followed with a delay of about 1 / (1 - smoothing)
    frames. Depth is not averaged over pixels, so nothing smears.

    A cut resets the alignment; a flash does not. Not thread-safe.

    Args:
        smoothing: weight of the aligned frame, from 0 (no change) to below 1.

    Raises:
        InvalidInputError: `smoothing` is not in that range.

    Example:
        >>> smoother = ScaleShiftSmoother()
        >>> for prediction in model.stream(frames):
        ...     show(smoother(prediction).depth[0])
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        if not 0 <= smoothing < 1:
            raise InvalidInputError(f"smoothing={smoothing!r}: pass a number of at least 0 and less than 1")
        self._smoothing = smoothing
        self._shots: list[_Shot] = []
        self.cuts = 0

    def __call__(self, prediction: Prediction) -> Prediction:
        """Smooth the next frame of a video.

        Args:
            prediction: prediction of one frame (N = 1), with `processed_images`.

        Returns:
            The same prediction, or a new one if its depth changes.

        Raises:
            ShapeMismatchError: the prediction has several views, or no `processed_images`.
        """
        if len(prediction.depth) != 1 or prediction.processed_images is None:
            raise ShapeMismatchError(
                f"a prediction of {len(prediction.depth)} views; temporal smoothing works frame by frame: pass "
                "single-view predictions with processed_images"
            )
        small = thumbnail(prediction.processed_images[0])
        shot = next((one for one in self._shots if one.continues(prediction, small)), None)
        if shot is None:
            self.cuts += bool(self._shots)
        else:
            prediction = self._aligned(prediction, shot.inverse_depth)
        # Earlier shots are remembered for a few frames, because a shot continues after a flash.
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
    """State of a shot: thumbnail and inverse depth of its last frame, and how many frames ago that was."""

    thumbnail: FloatArray
    inverse_depth: FloatArray
    ago: int = 0

    def continues(self, prediction: Prediction, small: FloatArray) -> bool:
        return self.inverse_depth.shape == prediction.depth.shape[1:] and is_same_shot(self.thumbnail, small)


def _inverse_depth(prediction: Prediction) -> FloatArray:
    """Return inverse depth (H, W) of the pixels that a fit may use; NaN elsewhere."""
    depth, known = prediction.depth[0], known_pixels(prediction)[0]
    inverse: FloatArray = np.full(depth.shape, np.nan, np.float32)
    np.divide(1.0, depth, out=inverse, where=known)
    return inverse
