"""Measure FFmpeg's conversion of 8-bit 4:2:0 frames to RGB."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["PIXEL_FORMATS", "ColorConversion", "measure_conversion"]

PIXEL_FORMATS = ("yuv420p", "yuvj420p", "nv12")
"""The pixel formats of 8-bit 4:2:0, by FFmpeg's names."""

_SIDE = 64  # pixels of the test frame
_LUMA, _CHROMA = (96, 160), (112, 145)  # levels whose colours are inside of RGB with every matrix and range
_MAX_RMS = 0.8  # levels; 0.3 to 0.6 were measured


class ColorConversion(NamedTuple):
    """What a conversion does.

    Attributes:
        matrix: (3, 4) float64; red, green and blue are this matrix times (Y, U, V, 1), on average.
        linear_rows: whether chroma is interpolated linearly between rows; else each sample counts for two rows. Each
            sample counts for two columns.
    """

    matrix: npt.NDArray[np.float64]
    linear_rows: bool


def measure_conversion(frame: Any, reformatter: Any) -> ColorConversion | None:  # Any: PyAV is optional
    """Convert a test frame with the format, matrix and range of `frame`, and fit what comes out.

    FFmpeg truncates intermediate values, so its RGB is up to 2 levels darker than the standard's; so is the fit.

    Returns:
        The conversion; None if it is of another kind, or FFmpeg does not support it.
    """
    from av import VideoFrame

    rng = np.random.default_rng(0)
    luma = rng.integers(*_LUMA, (_SIDE, _SIDE), np.uint8)
    u, v = rng.integers(*_CHROMA, (2, _SIDE // 2, _SIDE // 2), np.uint8)
    chroma = np.stack([u, v], axis=-1) if frame.format.name == "nv12" else np.stack([u, v])
    test = VideoFrame.from_ndarray(np.vstack([luma, chroma.reshape(-1, _SIDE)]), format=frame.format.name)
    test.colorspace, test.color_range = frame.colorspace, frame.color_range
    try:
        rgb = reformatter.reformat(test, format="rgb24").to_ndarray()
    except (OSError, ValueError):
        return None
    fits = [_fit(luma, u, v, rgb, linear_rows) for linear_rows in (False, True)]
    rms, best = min(fits, key=lambda one: one[0])
    return best if rms <= _MAX_RMS else None


def _fit(
    luma: npt.NDArray[np.uint8],
    u: npt.NDArray[np.uint8],
    v: npt.NDArray[np.uint8],
    rgb: npt.NDArray[np.uint8],
    linear_rows: bool,
) -> tuple[float, ColorConversion]:
    """Return the root of the mean square that remains in the worst colour, and the conversion."""

    def enlarged(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        rows = np.repeat(plane.astype(np.float64), 2, axis=0)
        if linear_rows:
            padded = np.pad(rows, ((1, 1), (0, 0)), "edge")
            rows = 0.5 * rows + 0.25 * (padded[:-2] + padded[2:])
        return np.repeat(rows, 2, axis=1)

    samples = np.stack([luma.astype(np.float64), enlarged(u), enlarged(v), np.ones(luma.shape)], axis=-1).reshape(-1, 4)
    colors = rgb.reshape(-1, 3).astype(np.float64)
    matrix = np.linalg.lstsq(samples, colors, rcond=None)[0]
    errors = np.square(colors - samples @ matrix).mean(axis=0)
    return float(np.sqrt(errors.max())), ColorConversion(matrix.T, linear_rows)
