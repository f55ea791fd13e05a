"""Resize depth, confidence and sky to the size of the source image, with edges that follow the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Placement", "Upsampler"]

_RADIUS = 2
"""Radius of the guided filter's window, in pixels of the network."""

_EPSILON = 3e-4 * 255**2
"""Variance of the guide, in squared 8-bit levels, below which it counts as flat; a standard deviation of 4.4 levels."""

_STRIP_ROWS = 64  # rows computed at a time: they stay in the processor's cache

Size = tuple[int, int]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Scalar = TypeVar("Scalar", np.float32, np.bool_)


@dataclass(frozen=True)
class Placement:
    """Where a map of the network lies on the upright source image.

    A point (y, x) of the source, where (0, 0) is the corner of the image and (0.5, 0.5) the centre of its first pixel,
    is the point (y * scale[0] + offset[0], x * scale[1] + offset[1]) of the map.

    Attributes:
        source_hw: (height, width) of the source.
        scale: (rows, columns) of the map per row and column of the source.
        offset: (row, column) of the source's corner in the map: negative if the image was cropped, positive if padded.
    """

    source_hw: Size
    scale: tuple[float, float]
    offset: Size

    @property
    def canvas_hw(self) -> Size:
        """(height, width) of a map of the whole source, neither cropped nor padded."""
        return round(self.source_hw[0] * self.scale[0]), round(self.source_hw[1] * self.scale[1])

    def on_canvas(self, values: npt.NDArray[Scalar], fill: Scalar) -> npt.NDArray[Scalar]:
        """Return an (H, W) map as a map of the whole source: without padding, and with `fill` where it was cropped."""
        if self.offset == (0, 0) and values.shape == self.canvas_hw:
            return values
        canvas = np.full(self.canvas_hw, fill, values.dtype)
        rows, map_rows = _overlap(self.offset[0], values.shape[0], self.canvas_hw[0])
        columns, map_columns = _overlap(self.offset[1], values.shape[1], self.canvas_hw[1])
        canvas[rows, columns] = values[map_rows, map_columns]
        return canvas


class Upsampler:
    """Resizes the maps of one view to the size of its source image.

    Without a guide, maps are interpolated linearly; where the source is smaller than the map, they are averaged. With
    a guide, depth and sky are enlarged by the fast guided filter (He and Sun, 2015, arXiv:1505.00996): in each window
    of the map, inverse depth is fitted as a linear function of the colour (He, Sun and Tang, Guided Image Filtering,
    IEEE TPAMI 35(6), 2013, section 3.6). The coefficients are enlarged linearly and applied to the full-size image. The
    result stays between the smallest and the largest inverse depth of the window.

    Args:
        placement: where the maps lie on the source.
        guide: (H0, W0, 3) uint8 RGB, the upright source; None interpolates linearly.
    """

    def __init__(self, placement: Placement, guide: Pixels | None) -> None:
        self._placement, self._size = placement, placement.source_hw
        canvas = placement.canvas_hw
        self._shrinks = self._size[0] <= canvas[0] and self._size[1] <= canvas[1]
        self._guide = None if self._shrinks else guide
        self._fit = None if self._guide is None else _ColourFit(self._guide, canvas)

    def depth(self, depth: Map) -> Map:
        """Return (H0, W0) float32 depth, interpolated as inverse depth; 0 where it is undefined or was cropped."""
        values = self._placement.on_canvas(depth, np.float32(0))
        known = np.isfinite(values) & (values > np.finfo(np.float32).tiny)
        inverse = np.divide(1, values, out=np.zeros_like(values), where=known)
        result = self._resized(inverse, known)
        np.divide(1, result, out=result, where=result > 0)
        return result

    def confidence(self, conf: Map) -> Map:
        """Return (H0, W0) float32 confidence, interpolated linearly; 1, the minimum, where the image was cropped."""
        inside = self._inside(conf.shape)
        return self._linear(self._placement.on_canvas(conf, np.float32(0)), inside, fill=1)

    def sky(self, sky: Mask) -> Mask:
        """Return (H0, W0) bool; False where the image was cropped."""
        values = self._placement.on_canvas(sky, np.bool_(False)).astype(np.float32)
        mask: Mask = self._resized(values, self._inside(sky.shape)) >= 0.5
        return mask

    def image(self, image: Pixels) -> Pixels:
        """Return (H0, W0, 3) uint8: an image of the network, interpolated linearly; black where it was cropped."""
        planes = [self._placement.on_canvas(image[..., one].astype(np.float32), np.float32(0)) for one in range(3)]
        inside = self._inside(image.shape[:2])
        enlarged = [np.rint(self._linear(plane, inside, fill=0)).astype(np.uint8) for plane in planes]
        return np.asarray(cv2.merge(enlarged), np.uint8)

    def _inside(self, shape: tuple[int, ...]) -> Mask:
        return self._placement.on_canvas(np.ones(shape, np.bool_), np.bool_(False))

    def _resized(self, values: Map, known: Mask) -> Map:
        if self._fit is None or not known.any():
            return self._linear(values, known, fill=0)
        assert self._guide is not None
        planes = self._fit.planes(values, known)
        result = np.empty(self._size, np.float32)
        for rows, (*slopes, constant, low, high) in _strips(planes, self._size):
            target = result[rows]
            np.copyto(target, constant)
            for slope, channel in zip(slopes, cv2.split(self._guide[rows]), strict=True):
                slope *= channel
                target += slope
            np.clip(target, low, high, out=target)
        return self._masked(result, known, 0)

    def _linear(self, values: Map, known: Mask, fill: float) -> Map:
        """Interpolate the known values; the others have no weight."""
        method = cv2.INTER_AREA if self._shrinks else cv2.INTER_LINEAR
        size = self._size[::-1]
        result = np.asarray(cv2.resize(np.where(known, values, np.float32(0)), size, interpolation=method), np.float32)
        if known.all():
            return result
        weight = cv2.resize(known.astype(np.float32), size, interpolation=method)
        np.divide(result, weight, out=result, where=weight > 0)
        return self._masked(result, known, fill)

    def _masked(self, result: Map, known: Mask, fill: float) -> Map:
        """Set pixels whose nearest pixel of the map is not known."""
        if not known.all():
            rows, columns = (
                ((np.arange(length) + 0.5) * count / length).astype(int)
                for length, count in zip(self._size, known.shape, strict=True)
            )
            result[~known[rows[:, None], columns]] = fill
        return result


class _ColourFit:
    """The guide at the size of the map, and its statistics in windows."""

    def __init__(self, guide: Pixels, canvas_hw: Size) -> None:
        small = cv2.resize(guide, canvas_hw[::-1], interpolation=cv2.INTER_AREA)
        self._colours = [channel.astype(np.float64) for channel in cv2.split(small)]

    def planes(self, values: Map, known: Mask) -> Map:
        """Fit values as a linear function of colour, in each window; values that are not known have no weight.

        Returns:
            (6, h, w): factors of the three colours, constant, smallest and largest value of the window.
        """
        weight = known.astype(np.float64)
        total = _box(weight)
        total[total < 1e-6] = np.inf  # no known value: the fit is 0

        def mean(of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.asarray(_box(of * weight) / total, np.float64)

        target = values.astype(np.float64)
        centres, centre = [mean(one) for one in self._colours], mean(target)
        covariance = np.empty((*values.shape, 3, 3))
        with_target = np.empty((*values.shape, 3, 1))
        for i, one in enumerate(self._colours):
            for j in range(i, 3):
                covariance[..., i, j] = covariance[..., j, i] = mean(one * self._colours[j]) - centres[i] * centres[j]
            covariance[..., i, i] += _EPSILON
            with_target[..., i, 0] = mean(one * target) - centres[i] * centre
        slopes = np.moveaxis(np.linalg.solve(covariance, with_target)[..., 0], -1, 0)
        constant = centre - sum(slope * one for slope, one in zip(slopes, centres, strict=True))
        fitted = np.isfinite(total).astype(np.float64)
        windows = np.maximum(_box(fitted), 1e-6)
        kernel = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
        low = cv2.erode(np.where(known, values, values.max()), kernel)
        high = cv2.dilate(np.where(known, values, np.float32(0)), kernel)
        averaged = [_box(one * fitted) / windows for one in (*slopes, constant)]
        return np.stack([*averaged, low, high]).astype(np.float32)


def _box(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kernel = (2 * _RADIUS + 1,) * 2
    return np.asarray(cv2.boxFilter(values, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float64)


def _strips(planes: Map, size: Size) -> Iterator[tuple[slice, list[Map]]]:
    """Enlarge planes (K, h, w) to (height, width) linearly, a strip of rows at a time, to bound memory."""
    height, count = size[0], planes.shape[1]
    for first in range(0, height, _STRIP_ROWS):
        rows = np.arange(first, min(first + _STRIP_ROWS, height))
        at = np.clip((rows + 0.5) * count / height - 0.5, 0, count - 1)
        above = np.minimum(at.astype(int), max(count - 2, 0))
        share = (at - above).astype(np.float32)[None, :, None]
        below = planes[:, np.minimum(above + 1, count - 1)]
        strip = planes[:, above] * (1 - share) + below * share
        wide = [cv2.resize(one, (size[1], len(rows)), interpolation=cv2.INTER_LINEAR) for one in strip]
        yield slice(first, first + len(rows)), wide


def _overlap(offset: int, length: int, canvas: int) -> tuple[slice, slice]:
    """Return the part of a canvas's side that a map covers, and that part of the map."""
    first, last = max(0, -offset), min(canvas, length - offset)
    return slice(first, last), slice(first + offset, last + offset)
