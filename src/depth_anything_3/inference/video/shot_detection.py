"""Detect cuts by comparing the fine detail of two frames."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["is_same_shot", "thumbnail"]

FloatArray = npt.NDArray[np.floating]

_THUMBNAIL_SIZE = (48, 36)  # width, height
_BLUR_SIGMA = 6.0  # pixels of the thumbnail; lower frequencies are lighting, which is similar in different places
_MAX_MOTION = 4  # pixels of the thumbnail that the image may move between frames
_MIN_CORRELATION = 0.6  # on rendered videos: 0.86 and more for consecutive frames of a shot, at most 0.47 otherwise
_MIN_CONTRAST = 1.0  # standard deviation in levels below which a frame has no detail


def thumbnail(image: npt.NDArray[np.uint8]) -> FloatArray:
    """Reduce an image (H, W, 3) to its fine detail, (36, 48, 3) float32, without low frequencies."""
    small = cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.GaussianBlur(small, (0, 0), _BLUR_SIGMA), np.float32)


def is_same_shot(first: FloatArray, second: FloatArray) -> bool:
    """Whether two thumbnails may belong to one shot: their detail correlates, up to a small motion."""
    inner = first[_MAX_MOTION:-_MAX_MOTION, _MAX_MOTION:-_MAX_MOTION]
    flat = float(inner.std()) < _MIN_CONTRAST, float(second.std()) < _MIN_CONTRAST
    if any(flat):
        return all(flat)
    return float(cv2.matchTemplate(second, inner, cv2.TM_CCOEFF_NORMED).max()) >= _MIN_CORRELATION
