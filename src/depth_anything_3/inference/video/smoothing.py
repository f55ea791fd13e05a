"""Depth of one frame after the other in, steady depth out: each frame gets one scale and one shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.choice import Option

__all__ = ["SteadyDepth", "Temporal", "fit_scale_shift", "is_same_shot", "known_pixels", "thumbnail", "tukey_weights"]

FloatArray = npt.NDArray[np.floating]

_POINTS = 20_000  # that a fit looks at; more cost time and change nothing
_FEWEST = 100
_ROUNDS = 8
_TUKEY = 4.685  # robust deviations at which a pixel stops counting: 95 % efficient where errors are normal
_LEAST_SPREAD = 0.002  # of relative errors, so that pixels that agree exactly are not told apart by their rounding
_MOST_STRETCH = 2.0
_UNCHANGED = 1e-4  # relative; a smaller correction is rounding, and a still camera's depth stays as it is
_NEAREST_TO_ZERO = 0.05  # of a pixel's own inverse depth: a shift must not push the far things behind infinity
_THUMBNAIL = (48, 36)  # width, height
_BLUR = 6.0  # pixels of it; slower changes than that are light, and alike in unlike places
_SWAY = 4  # pixels of it that the camera may turn by from frame to frame
_ALIKE = 0.6  # next frames of rendered shots correlate by 0.86 and more, first frames of others by 0.47 and less
_FLAT = 1.0  # levels of deviation below which a picture shows nothing to compare
_INTERRUPTION = 5  # frames: a flash may last as long without being taken for the cuts to and from another shot


class Temporal(Option):
    """How depth is kept from flickering: not at all, by scale and shift of each frame, or by windows of frames."""

    NONE = "none"
    EMA = "ema"
    WINDOW = "window"


class SteadyDepth:
    """Takes the flicker out of depth that was computed frame by frame.

    Networks judge the scale of each frame anew, and how strongly near and far differ. Each frame is therefore aligned
    to what was returned for the one before: inverse depth times a scale plus a shift, by robust least squares over
    pixels with depth and confidence, without the sky. What moves counts as outliers. The result is a share `smoothing`
    of the aligned frame and the rest of the frame as it came, so true changes of scale are followed, later by
    about 1 / (1 - smoothing) frames. A pixel keeps its own depth, up to that scale and shift: nothing smears.

    After a cut it begins anew; a flash is not taken for one. Not for two threads at once.

    Args:
        smoothing: 0 (nothing is changed) to below 1.

    Raises:
        InvalidInputError: `smoothing` is not in that range.

    Example:
        >>> steady = SteadyDepth()
        >>> for prediction in model.stream(frames):
        ...     show(steady(prediction).depth[0])
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        if not 0 <= smoothing < 1:
            raise InvalidInputError(f"smoothing={smoothing!r}: give a number from 0 to below 1")
        self._smoothing = smoothing
        self._shots: list[_Shot] = []
        self.cuts = 0

    def __call__(self, prediction: Prediction) -> Prediction:
        """The same prediction with steady depth, for the frames of a video in order.

        Args:
            prediction: of one frame (N = 1), with the picture that the network saw.

        Returns:
            A new one if its depth changes.

        Raises:
            ShapeMismatchError: it is of several views.
        """
        if len(prediction.depth) != 1 or prediction.processed_images is None:
            raise ShapeMismatchError("depth is steadied frame by frame: give predictions of one view, with its picture")
        picture = thumbnail(prediction.processed_images[0])
        shot = next((one for one in self._shots if one.continues(prediction, picture)), None)
        if shot is None:
            self.cuts += bool(self._shots)
        else:
            prediction = self._aligned(prediction, shot.nearness)
        # Shots before this one are remembered for a while: after a flash the film goes on where it was.
        others = (replace(one, ago=one.ago + 1) for one in self._shots if one is not shot and one.ago < _INTERRUPTION)
        self._shots = [_Shot(picture, _nearness(prediction)), *others]
        return prediction

    def _aligned(self, prediction: Prediction, before: FloatArray) -> Prediction:
        nearness = _nearness(prediction)
        scale, shift = fit_scale_shift(nearness, before)
        scale, shift = 1 + self._smoothing * (scale - 1), self._smoothing * shift
        usual = float(np.nanmedian(nearness)) if np.isfinite(nearness).any() else 1.0
        if abs(scale - 1) < _UNCHANGED and abs(shift) < _UNCHANGED * usual:
            return prediction
        depth = prediction.depth
        with np.errstate(divide="ignore"):
            factor = np.maximum(scale + shift * depth, _NEAREST_TO_ZERO)  # of inverse depth; 1 / d to (s + t d) / d
        return replace(prediction, depth=np.asarray(depth / factor, np.float32))


@dataclass(frozen=True, eq=False)
class _Shot:
    """Where a shot is: its last picture (small), its inverse depth, and how many frames ago that was."""

    picture: FloatArray
    nearness: FloatArray
    ago: int = 0

    def continues(self, prediction: Prediction, picture: FloatArray) -> bool:
        return self.nearness.shape == prediction.depth.shape[1:] and is_same_shot(self.picture, picture)


def known_pixels(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """(N, H, W), where there is depth to go by: with confidence, and no sky."""
    known = np.isfinite(prediction.depth) & (prediction.depth > 0)
    if prediction.sky is not None:
        known &= ~prediction.sky
    if prediction.conf is not None:
        known &= prediction.conf > 1  # the least there is
    return known


def tukey_weights(errors: FloatArray) -> FloatArray:
    """How much each point counts in the next round of a robust fit: from 1 to, of outliers, 0.

    Args:
        errors: relative, of the last round.
    """
    spread = max(1.4826 * float(np.median(np.abs(errors))), _LEAST_SPREAD)
    return np.asarray(np.square(1 - np.square(np.minimum(np.abs(errors) / (_TUKEY * spread), 1))))


def _nearness(prediction: Prediction) -> FloatArray:
    """Inverse depth (H, W) of the pixels that a fit may look at; NaN elsewhere."""
    depth, known = prediction.depth[0], known_pixels(prediction)[0]
    nearness: FloatArray = np.full(depth.shape, np.nan, np.float32)
    np.divide(1.0, depth, out=nearness, where=known)
    return nearness


def fit_scale_shift(source: FloatArray, target: FloatArray) -> tuple[float, float]:
    """Scale and shift that bring one map of inverse depth onto another, pixel by pixel.

    Iterated reweighted least squares on relative errors with Tukey's weights, which leave outliers out altogether: a
    still scene in which something moves comes out as exactly 1 and 0.

    Args:
        source, target: (H, W), NaN where not known.

    Returns:
        Scale and shift; 1 and 0 where too little is known of both to tell.
    """
    step = max(1, round((source.size / _POINTS) ** 0.5))
    x, y = source[::step, ::step].astype(np.float64), target[::step, ::step].astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST:
        return 1.0, 0.0
    x, y = x[known], y[known]
    scale, shift = float(np.median(y / x)), 0.0
    for _ in range(_ROUNDS):
        error = (scale * x + shift) / y - 1
        weight = tukey_weights(error) / np.square(y)
        if (weight > 0).sum() < _FEWEST:
            break
        weight /= weight.sum()
        dx, dy = x - weight @ x, y - weight @ y
        variance = float(weight @ (dx * dx))
        if variance <= (0.01 * float(weight @ x)) ** 2:  # all equally far: a shift cannot be told from a scale
            scale, shift = float(weight @ y) / float(weight @ x), 0.0
            continue
        scale = float(weight @ (dx * dy)) / variance
        scale = min(max(scale, 1 / _MOST_STRETCH), _MOST_STRETCH)
        shift = float(weight @ (y - scale * x))
    return scale, shift


def thumbnail(picture: npt.NDArray[np.uint8]) -> FloatArray:
    """The details of a picture (H, W, 3), small: (36, 48, 3) float32, without its light and large shapes."""
    small = cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.GaussianBlur(small, (0, 0), _BLUR), np.float32)


def is_same_shot(first: FloatArray, second: FloatArray) -> bool:
    """Whether two thumbnails may be frames of one shot: their details correlate, where the camera may have turned."""
    inner = first[_SWAY:-_SWAY, _SWAY:-_SWAY]
    flat = float(inner.std()) < _FLAT, float(second.std()) < _FLAT
    if any(flat):
        return all(flat)
    return float(cv2.matchTemplate(second, inner, cv2.TM_CCOEFF_NORMED).max()) >= _ALIKE
