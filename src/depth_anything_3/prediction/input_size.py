"""Resize the maps of views to the size of their source images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, ShapeMismatchError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.image_source import ImageInput, ImageSource, as_source
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction.upsampling import Placement, Upsampler

__all__ = ["ViewMaps", "check_one_size", "resize_maps", "source_images", "source_intrinsics"]

_NOT_A_PATH = re.compile(r"image \d+ \(.*\)")  # label of an array, an image or bytes

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ViewMaps:
    """The maps of N views: depth, confidence, sky and images, as in `Prediction`."""

    depth: npt.NDArray[np.float32]
    conf: npt.NDArray[np.float32] | None
    sky: npt.NDArray[np.bool_] | None
    images: Pixels | None


def check_one_size(labels: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    """Check that the source images of views have one size, so that their maps form one array.

    Raises:
        ShapeMismatchError: they differ in size.
    """
    for label, (height, width) in zip(labels, sizes, strict=True):
        if (height, width) != sizes[0]:
            raise ShapeMismatchError(
                f"the source images have different sizes ({labels[0]} {sizes[0][1]}x{sizes[0][0]}, {label} "
                f"{width}x{height}), so their depth maps do not form one array; keep output_size='network', or compute "
                "each image by itself"
            )


def source_images(
    images: Iterable[ImageInput | ImageSource] | None,
    labels: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    options: PreprocessOptions,
) -> Iterator[Pixels]:
    """Decode the source images of views, one at a time.

    Args:
        images: the images; None reads the files that the labels name.
        labels, sizes: name and upright (height, width) of each view.
        options: how images are decoded.

    Yields:
        (H0, W0, 3) uint8 RGB, upright.

    Raises:
        InvalidInputError: there are more or fewer images than views, one has another size, or a label names no file.
        ImageReadError, ImageDecodeError: a file cannot be read.
    """
    inputs = _files(labels) if images is None else list(images)
    if len(inputs) != len(labels):
        raise InvalidInputError(f"images has {len(inputs)} image(s), but the prediction has {len(labels)} view(s)")
    prepare = ImagePreparer(replace(options, fidelity=Fidelity.EXACT))
    for index, (image, label, size) in enumerate(zip(inputs, labels, sizes, strict=True)):
        pixels = prepare.upright(index, image)
        if pixels.shape[:2] != size:
            raise InvalidInputError(
                f"{as_source(image, index).label}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but the depth of "
                f"{label} was computed from {size[1]}x{size[0]}; pass the same images, with the same `exif`"
            )
        yield pixels


def _files(labels: Sequence[str]) -> list[Path]:
    for label in labels:
        if _NOT_A_PATH.fullmatch(label) or not Path(label).is_file():
            raise InvalidInputError(
                f"{label}: its pixels are not available, as it is no file; pass images=, or upsampling='linear'"
            )
    return [Path(label) for label in labels]


def resize_maps(
    maps: ViewMaps, placements: Sequence[Placement], sources: Iterable[Pixels | None], *, guided: bool
) -> ViewMaps:
    """Resize the maps of views to the size of their source images.

    Args:
        maps: of N views.
        placements: where each view's maps lie on its source image; the sources have one size.
        sources: the source image of each view; None: the network's image is enlarged.
        guided: enlarge depth and sky with edges that follow the source image.
    """
    shape = (len(maps.depth), *placements[0].source_hw)
    depth = np.empty(shape, np.float32)
    conf = None if maps.conf is None else np.empty(shape, np.float32)
    sky = None if maps.sky is None else np.empty(shape, np.bool_)
    images = None
    for view, (placement, source) in enumerate(zip(placements, sources, strict=True)):
        upsampler = Upsampler(placement, source if guided else None)
        depth[view] = upsampler.depth(maps.depth[view])
        if conf is not None and maps.conf is not None:
            conf[view] = upsampler.confidence(maps.conf[view])
        if sky is not None and maps.sky is not None:
            sky[view] = upsampler.sky(maps.sky[view])
        if source is None and maps.images is not None:
            source = upsampler.image(maps.images[view])
        if source is not None:
            images = np.empty((*shape, 3), np.uint8) if images is None else images
            images[view] = source
    return ViewMaps(depth, conf, sky, images)


def source_intrinsics(
    intrinsics: npt.NDArray[np.floating], placements: Sequence[Placement]
) -> npt.NDArray[np.floating]:
    """Convert intrinsics (N, 3, 3) to pixels of the source images, as preprocessing converted them from there."""
    matrices = np.array(intrinsics, np.float64)
    for matrix, placement in zip(matrices, placements, strict=True):
        for row in (0, 1):
            matrix[row, 2] -= placement.offset[1 - row]
            matrix[row] /= placement.scale[1 - row]
    return matrices.astype(intrinsics.dtype)
