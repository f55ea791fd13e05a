"""Detect cuts: compare the fine detail of two frames."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["is_same_shot", "thumbnail"]

FloatArray = npt.NDArray[np.floating]

_THUMBNAIL_SIZE = (48, 36)  # width, height
_BLUR_SIGMA = 6.0  # pixels of the thumbnail; slower changes than that are light, and alike in unlike places
_MAX_MOTION = 4  # pixels of the thumbnail that the camera may turn by from frame to frame
_MIN_CORRELATION = 0.6  # rendered: consecutive frames of a shot correlate by 0.86 and more, others by 0.47 at most
_MIN_CONTRAST = 1.0  # levels of deviation below which a frame shows nothing to compare


def thumbnail(image: npt.NDArray[np.uint8]) -> FloatArray:
    """Reduce an image (H, W, 3) to its details, (36, 48, 3) float32, without its light and large shapes."""
    small = cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.GaussianBlur(small, (0, 0), _BLUR_SIGMA), np.float32)


def is_same_shot(first: FloatArray, second: FloatArray) -> bool:
    """Whether two thumbnails may be frames of one shot: their details correlate, where the camera may have turned."""
    inner = first[_MAX_MOTION:-_MAX_MOTION, _MAX_MOTION:-_MAX_MOTION]
    flat = float(inner.std()) < _MIN_CONTRAST, float(second.std()) < _MIN_CONTRAST
    if any(flat):
        return all(flat)
    return float(cv2.matchTemplate(second, inner, cv2.TM_CCOEFF_NORMED).max()) >= _MIN_CORRELATION
