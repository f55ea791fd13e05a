"""Resize depth, confidence and sky to the size of the source image, with edges that follow the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Placement", "Upsampler"]

_RADIUS = 3
"""Radius of the guided filter's window, in pixels of the network."""

_EPSILONS = (3e-4 * 255**2,) * 3 + (0.5,) * 2
"""Regularisation of the fit: variance below which an input counts as constant, in squared levels for the three colours
(a standard deviation of 4.4) and in squared pixels for the position."""

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
    a guide, depth and sky are enlarged by a fast guided filter (He and Sun, 2015, arXiv:1505.00996): in each window of
    the map, inverse depth is fitted as a linear function of the colour (He, Sun and Tang, Guided Image Filtering, IEEE
    TPAMI 35(6), 2013, section 3.6), and of the position, which is ours: a slanted surface then needs no colour, and its
    texture does not appear in its depth. The coefficients are enlarged linearly and applied to the full-size image. The
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
        self._fit = None if self._guide is None else _WindowFit(self._guide, canvas)

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
        if not sky.any():
            return np.zeros(self._size, np.bool_)
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
        y, x = (
            _centred(length, count).astype(np.float32) for length, count in zip(self._size, values.shape, strict=True)
        )
        result = np.empty(self._size, np.float32)
        for rows, (*slopes, constant, low, high) in _strips(planes, self._size):
            target = result[rows]
            np.copyto(target, constant)
            for slope, factor in zip(slopes, (*cv2.split(self._guide[rows]), y[rows, None], x), strict=True):
                slope *= factor
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


class _WindowFit:
    """Fits maps, in a window around each pixel, as a linear function of the guide's colour and of the position."""

    def __init__(self, guide: Pixels, canvas_hw: Size) -> None:
        small = cv2.resize(guide, canvas_hw[::-1], interpolation=cv2.INTER_AREA)
        y, x = np.meshgrid(*(_centred(length, length) for length in canvas_hw), indexing="ij")
        self._inputs = [channel.astype(np.float64) for channel in (*cv2.split(small), y, x)]
        self._moments: _Moments | None = None

    def planes(self, values: Map, known: Mask) -> Map:
        """Fit values; those that are not known have no weight.

        Returns:
            (8, h, w): factors of red, green, blue, row and column, the constant, and the smallest and the largest value
            of the window.
        """
        if self._moments is None or not np.array_equal(self._moments.known, known):
            self._moments = _Moments.of(self._inputs, known)
        moments, target = self._moments, values.astype(np.float64)
        centre = moments.mean(target)
        with_target = [
            moments.mean(one * target) - mean * centre for one, mean in zip(self._inputs, moments.means, strict=True)
        ]
        slopes = np.einsum("hwij,jhw->ihw", moments.inverse, np.stack(with_target))
        constant = centre - sum(slope * mean for slope, mean in zip(slopes, moments.means, strict=True))
        kernel = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
        low = cv2.erode(np.where(known, values, values.max()), kernel)
        high = cv2.dilate(np.where(known, values, np.float32(0)), kernel)
        averaged = [moments.average(one) for one in (*slopes, constant)]
        return np.stack([*averaged, low, high]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means and covariance of the inputs of a fit, in a window around each pixel; unknown pixels have no weight.

    Attributes:
        known: (h, w) which pixels count.
        total: (h, w) share of the window that is known; inf where nothing is, so that means and fits there are 0.
        means: (h, w) mean of each input.
        inverse: (h, w, n, n) inverse of the regularised covariance.
    """

    known: Mask
    total: npt.NDArray[np.float64]
    means: list[npt.NDArray[np.float64]]
    inverse: npt.NDArray[np.float64]

    @classmethod
    def of(cls, inputs: Sequence[npt.NDArray[np.float64]], known: Mask) -> _Moments:
        """Compute the moments of the inputs."""
        total = _box(known.astype(np.float64))
        total[total < 1e-6] = np.inf
        empty = cls(known, total, [], np.empty(0))
        means = [empty.mean(one) for one in inputs]
        covariance = np.empty((*known.shape, len(inputs), len(inputs)))
        for i, one in enumerate(inputs):
            for j in range(i, len(inputs)):
                covariance[..., i, j] = empty.mean(one * inputs[j]) - means[i] * means[j]
                covariance[..., j, i] = covariance[..., i, j]
            covariance[..., i, i] += _EPSILONS[i]
        return cls(known, total, means, np.linalg.inv(covariance))

    def mean(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the mean of the known values in each window."""
        return np.asarray(_box(values * self.known) / self.total, np.float64)

    def average(self, of_windows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Average a quantity of windows over the windows that a pixel is in."""
        fitted = np.isfinite(self.total).astype(np.float64)
        return np.asarray(_box(of_windows * fitted) / np.maximum(_box(fitted), 1e-6), np.float64)


def _centred(length: int, count: int) -> npt.NDArray[np.float64]:
    """Return the positions of the centres of `length` pixels that cover `count` others, from the middle of these."""
    return (np.arange(length) + 0.5) * count / length - count / 2


def _box(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kernel = (2 * _RADIUS + 1,) * 2
    return np.asarray(cv2.boxFilter(values, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float64)


def _strips(planes: Map, size: Size) -> Iterator[tuple[slice, list[Map]]]:
    """Enlarge planes (K, h, w) to (height, width) linearly, a strip of rows at a time, to bound memory.

    The next strip overwrites the one before.
    """
    height, count = size[0], planes.shape[1]
    scratch = np.empty((len(planes), min(_STRIP_ROWS, height), size[1]), np.float32)
    for first in range(0, height, _STRIP_ROWS):
        rows = np.arange(first, min(first + _STRIP_ROWS, height))
        at = np.clip((rows + 0.5) * count / height - 0.5, 0, count - 1)
        above = np.minimum(at.astype(int), max(count - 2, 0))
        share = (at - above).astype(np.float32)[None, :, None]
        below = planes[:, np.minimum(above + 1, count - 1)]
        strip = planes[:, above] * (1 - share) + below * share
        wide = list(scratch[:, : len(rows)])
        for one, target in zip(strip, wide, strict=True):
            cv2.resize(one, (size[1], len(rows)), dst=target, interpolation=cv2.INTER_LINEAR)
        yield slice(first, first + len(rows)), wide


def _overlap(offset: int, length: int, canvas: int) -> tuple[slice, slice]:
    """Return the part of a canvas's side that a map covers, and that part of the map."""
    first, last = max(0, -offset), min(canvas, length - offset)
    return slice(first, last), slice(first + offset, last + offset)
