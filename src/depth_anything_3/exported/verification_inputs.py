"""Shapes and images with which an exported network is verified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.specification import FOCAL, IMAGE, Dynamic, GraphInput, GraphMetadata
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = ["CORNER_SIZES", "GraphInputs", "GraphShape", "VerificationImages", "bundled_images", "corners"]

CORNER_SIZES = ((280, 504), (504, 378), (518, 518), (14, 14), (1008, 560))
"""(height, width) at which a graph with dynamic sizes is verified, besides its own: the usual landscape and portrait
sizes, the size of the position table (37 x 37 patches), one patch, and a large one."""

_BATCHES = (1, 3)
_VIEWS = (2, 1, 3, 5)  # from three views on a reference view is chosen

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[Any]  # Any: uint8 or float32


@dataclass(frozen=True, order=True)
class GraphShape:
    """Extents of the images of one call.

    Attributes:
        size_hw: (height, width) in pixels.
        batch: scenes.
        views: views of each scene.
    """

    size_hw: tuple[int, int]
    batch: int
    views: int

    def __str__(self) -> str:
        """Format as in a message."""
        height, width = self.size_hw
        return f"{height}x{width}, batch {self.batch}" + (f", {self.views} views" if self.views != 1 else "")


@dataclass(frozen=True, eq=False)
class GraphInputs:
    """Images of one call.

    Attributes:
        pixels: (B, V, H, W, 3) uint8 RGB.
        focal_px: (B, V) float32, different for each image.
    """

    pixels: UInt8Array
    focal_px: FloatArray

    @property
    def shape(self) -> GraphShape:
        """The extents."""
        batch, views, height, width, _ = self.pixels.shape
        return GraphShape((height, width), batch, views)

    def normalized(self) -> FloatArray:
        """Return the images as (B, V, 3, H, W) float32, normalised as the input pipeline does."""
        levels = normalized_levels()
        planes = np.ascontiguousarray(np.moveaxis(self.pixels, -1, 2))
        flat = [normalize(one, levels) for one in planes.reshape(-1, *planes.shape[2:])]
        return np.stack(flat).reshape(planes.shape)

    def for_graph(self, metadata: GraphMetadata) -> dict[str, Array]:
        """Return the inputs that a graph takes."""
        images: Array = self.pixels if metadata.input is GraphInput.UINT8 else self.normalized()
        found: dict[str, Array] = {IMAGE: images}
        if metadata.takes_focal:
            found[FOCAL] = self.focal_px
        return found if metadata.has_views_axis else {name: value[:, 0] for name, value in found.items()}


def corners(metadata: GraphMetadata) -> tuple[GraphShape, ...]:
    """List the shapes at which a graph is verified: the corners of the ranges that its file allows.

    Batches of three are tried at the graph's own size, the smallest and the largest; other numbers of views than two at
    the graph's own size.
    """
    sizes = [metadata.size_hw]
    if metadata.dynamic is Dynamic.ALL:
        sizes += [one for one in CORNER_SIZES if one != metadata.size_hw]
    batches = _BATCHES[:1] if metadata.dynamic is Dynamic.NONE else _BATCHES
    views: tuple[int, ...] = _VIEWS if metadata.views == "dynamic" else (metadata.views,)
    ends = {metadata.size_hw, min(sizes, key=math.prod), max(sizes, key=math.prod)}
    found = [GraphShape(size, batch, views[0]) for size in sizes for batch in batches[: 2 if size in ends else 1]]
    found += [GraphShape(metadata.size_hw, batch, count) for count in views[1:] for batch in batches]
    return tuple(found)


def bundled_images() -> list[Path]:
    """Return the paths of the demonstration's images, which are part of the package."""
    return sorted((Path(__file__).parents[1] / "jobs" / "demo_images").glob("*.jpg"))


class VerificationImages:
    """Real images at any size and in any number, each different from the others.

    Args:
        images: at least one image.

    Raises:
        InvalidInputError: there is none.
    """

    def __init__(self, images: Sequence[ImageInput]) -> None:
        if not images:
            raise InvalidInputError("no image to verify with; give at least one")
        self._images = list(images)
        self._prepared: dict[tuple[int, int], list[UInt8Array]] = {}

    def inputs(self, shape: GraphShape) -> GraphInputs:
        """Return the images of a shape.

        The input pipeline resizes each image so that its longer side is that of the shape. An image of another aspect
        ratio is then stretched to fill it.

        Raises:
            ImageReadError, ImageDecodeError, InvalidInputError: an image cannot be used.
        """
        if shape.size_hw not in self._prepared:
            self._prepared[shape.size_hw] = self._prepare(shape.size_hw)
        prepared = self._prepared[shape.size_hw]
        count = shape.batch * shape.views
        pixels = np.stack([_variant(prepared[index % len(prepared)], index // len(prepared)) for index in range(count)])
        focal = np.float32(0.9 * max(shape.size_hw)) * (1 + np.float32(0.05) * np.arange(count, dtype=np.float32))
        axes = (shape.batch, shape.views)
        return GraphInputs(pixels.reshape(*axes, *pixels.shape[1:]), focal.reshape(axes))

    def _prepare(self, size_hw: tuple[int, int]) -> list[UInt8Array]:
        with InputProcessor() as processor:
            found = list(processor.iterate(self._images, process_res=max(size_hw)))
        height, width = size_hw
        resized = []
        for one in found:
            assert hasattr(one, "pixels")  # the others were raised
            image = np.ascontiguousarray(np.moveaxis(one.pixels, 0, -1))
            if image.shape[:2] != size_hw:
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            resized.append(image.astype(np.uint8, copy=False))
        return resized


def _variant(image: UInt8Array, number: int) -> UInt8Array:
    """Make another image of one: mirrored if the number is odd, and moved along its width."""
    moved = np.roll(image, number // 2 * max(1, image.shape[1] // 5), axis=1)
    return moved[:, ::-1] if number % 2 else moved
