"""Draw a live frame beside its coloured depth, without flicker."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.colormap import Colormap, colorize_depth, inverse_depth_range
from depth_anything_3.prediction import Prediction

__all__ = ["FrameView"]

_TIME_CONSTANT = 1.0  # seconds, of the colour range


class FrameView:
    """Draws frame | depth. The colour range is low-pass filtered over time.

    Args:
        colormap: colours of the depth.
    """

    def __init__(self, colormap: Colormap = Colormap.SPECTRAL) -> None:
        self._colormap = colormap
        self._range: npt.NDArray[np.float64] | None = None
        self._time = 0.0

    def __call__(self, prediction: Prediction, time: float) -> npt.NDArray[np.uint8]:
        """Draw one frame.

        Args:
            prediction: of one frame, with `processed_images`.
            time: of the frame, in seconds.

        Returns:
            (H, 2 W, 3) uint8 RGB.
        """
        assert prediction.processed_images is not None
        depth = prediction.depth[0]
        found = inverse_depth_range(depth)
        if found is not None:
            weight = 1.0 if self._range is None else 1.0 - math.exp(-max(0.0, time - self._time) / _TIME_CONSTANT)
            previous = np.zeros(2) if self._range is None else self._range
            self._range = previous + weight * (np.array(found) - previous)
        self._time = time
        inverse_range = None if self._range is None else (float(self._range[0]), float(self._range[1]))
        return np.hstack([prediction.processed_images[0], colorize_depth(depth, inverse_range, self._colormap)])
