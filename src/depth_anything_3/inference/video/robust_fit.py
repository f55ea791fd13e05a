"""Fit depth maps to each other by iteratively reweighted least squares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depth_anything_3.prediction import Prediction

__all__ = ["MAX_POINTS", "MIN_POINTS", "ROUNDS", "fit_scale_shift", "known_pixels", "tukey_weights"]

FloatArray = npt.NDArray[np.floating]

MAX_POINTS = 20_000
"""Maximum number of points of a fit; more take longer without changing the result."""
MIN_POINTS = 100
"""Minimum number of points of a fit."""
ROUNDS = 8
"""Rounds of reweighting."""

_TUKEY = 4.685  # robust deviations at which the weight becomes 0: 95 % efficient for normal errors
_MIN_SPREAD = 0.002  # of relative errors, so that rounding does not count as an outlier
_MAX_STRETCH = 2.0


def known_pixels(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """Return the (N, H, W) mask of usable depth: finite, positive, confident, and not sky."""
    known = np.isfinite(prediction.depth) & (prediction.depth > 0)
    if prediction.sky is not None:
        known &= ~prediction.sky
    if prediction.conf is not None:
        known &= prediction.conf > 1  # 1 is the smallest value
    return known


def tukey_weights(errors: FloatArray) -> FloatArray:
    """Weight each point for the next round of a robust fit, from 1 down to 0 for outliers.

    Args:
        errors: relative errors of the last round.
    """
    spread = max(1.4826 * float(np.median(np.abs(errors))), _MIN_SPREAD)
    return np.asarray(np.square(1 - np.square(np.minimum(np.abs(errors) / (_TUKEY * spread), 1))))


def fit_scale_shift(source: FloatArray, target: FloatArray) -> tuple[float, float]:
    """Fit the scale and shift that map one map of inverse depth to another.

    Iteratively reweighted least squares on relative errors with Tukey's weights, which exclude outliers: a static
    scene with a moving object gives exactly 1 and 0.

    Args:
        source, target: (H, W), NaN where unknown.

    Returns:
        Scale and shift; 1 and 0 if too few pixels are known in both.
    """
    step = max(1, round((source.size / MAX_POINTS) ** 0.5))
    x, y = source[::step, ::step].astype(np.float64), target[::step, ::step].astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < MIN_POINTS:
        return 1.0, 0.0
    x, y = x[known], y[known]
    scale, shift = float(np.median(y / x)), 0.0
    for _ in range(ROUNDS):
        error = (scale * x + shift) / y - 1
        weight = tukey_weights(error) / np.square(y)
        if (weight > 0).sum() < MIN_POINTS:
            break
        weight /= weight.sum()
        dx, dy = x - weight @ x, y - weight @ y
        variance = float(weight @ (dx * dx))
        if variance <= (0.01 * float(weight @ x)) ** 2:  # constant depth: shift and scale are indistinguishable
            scale, shift = float(weight @ y) / float(weight @ x), 0.0
            continue
        scale = float(weight @ (dx * dy)) / variance
        scale = min(max(scale, 1 / _MAX_STRETCH), _MAX_STRETCH)
        shift = float(weight @ (y - scale * x))
    return scale, shift
