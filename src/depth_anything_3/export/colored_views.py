"""Colour the depth of the views of a prediction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.export.format_options import ColorOptions, inverse_range
from depth_anything_3.prediction import Prediction

__all__ = ["colored_views"]


def colored_views(prediction: Prediction, options: ColorOptions) -> Iterator[npt.NDArray[np.uint8]]:
    """Colour each view: (H, W, 3) uint8 RGB."""
    colors = inverse_range(options.depth_range)
    if options.shared_range:
        colors = inverse_depth_range(prediction.depth)
    for depth in prediction.depth:
        yield colorize_depth(depth, colors, options.colormap)
