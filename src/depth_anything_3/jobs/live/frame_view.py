"""Draw a live frame beside its depth, in colours that do not flicker."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.prediction import Prediction

__all__ = ["FrameView"]

_SETTLING = 1.0  # seconds in which the range of colours goes 63 % of the way to that of the frame


class FrameView:
    """Draws frame | depth; the range of depths that the colours cover follows slowly, from frame to frame."""

    def __init__(self) -> None:
        self._range: npt.NDArray[np.float64] | None = None
        self._time = 0.0

    def __call__(self, prediction: Prediction, time: float) -> npt.NDArray[np.uint8]:
        """Draw one frame.

        Args:
            prediction: of one frame, with the image that the network saw.
            time: of the frame, in seconds.

        Returns:
            (H, 2 W, 3) uint8 RGB; near is red, far is blue.
        """
        assert prediction.processed_images is not None
        depth = prediction.depth[0]
        found = inverse_depth_range(depth)
        if found is not None:
            share = 1.0 if self._range is None else 1.0 - math.exp(-max(0.0, time - self._time) / _SETTLING)
            before = np.zeros(2) if self._range is None else self._range
            self._range = before + share * (np.array(found) - before)
        self._time = time
        within = None if self._range is None else (float(self._range[0]), float(self._range[1]))
        return np.hstack([prediction.processed_images[0], colorize_depth(depth, within)])
