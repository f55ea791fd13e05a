"""Expand what a caller gives as images: one image, a folder, a pattern, an array of images, or an iterable."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.inputs.discover import find_with_folders, is_pattern
from depth_anything_3.inputs.image_source import (
    ImageInput,
    ImageSource,
    as_source,
    is_open_file,
    is_torch_tensor,
    open_file_label,
)

__all__ = ["GivenImages", "ImagesInput", "expand_images", "read_open_files"]

ImagesInput = ImageInput | Iterable[ImageInput]
"""One image, or several: an iterable of images, a folder, a pattern, or an array of four axes."""

_ALWAYS_ONE = (bytes, bytearray, memoryview, Image.Image, ImageSource)
_BATCH_AXES = 4


@dataclass(frozen=True, eq=False)
class GivenImages:
    """The images that a caller gave.

    Attributes:
        images: the images, in order; an iterator can be consumed once.
        is_one: whether one image was given by itself, and not in a list, a folder or an array.
        folder: the folder that was searched, or the fixed part of a pattern; None if nothing was searched.
    """

    images: Iterable[ImageInput]
    is_one: bool = False
    folder: Path | None = None

    @property
    def ready(self) -> int:
        """Number of images that can be read without waiting for them; 0 if an iterator gives them."""
        return len(self.images) if isinstance(self.images, Sequence) else 0

    @property
    def may_be_paths(self) -> bool:
        """Whether every image is a path, or that is unknown because an iterator gives them."""
        return not isinstance(self.images, Sequence) or all(isinstance(one, (str, os.PathLike)) for one in self.images)


def expand_images(images: ImagesInput, exclude: Collection[Path] = ()) -> GivenImages:
    """Tell one image from several, and find the files of a folder or pattern. No image is read.

    Args:
        images: any of these.

            - One image; see `image_source.as_source`. Arrays and tensors of up to three axes are one image.
            - The path of a folder: its image files, sorted, without those of subfolders.
            - A path with `*` or `?` that does not exist: the image files that match it, sorted; `**` matches
              subfolders. See `discover.find_with_folders`.
            - An array (N, H, W, 3), (N, H, W, 4) or a tensor (N, 3, H, W): N images.
            - An iterable of images. Its items are single images: folders and patterns in it are not expanded.
        exclude: folders that a search does not enter.

    Raises:
        InvalidInputError: it is neither an image nor iterable; or a folder or pattern has no images.
        ImageReadError: a folder cannot be listed.
    """
    if isinstance(images, (str, os.PathLike)):
        return _from_path(images, exclude)
    if isinstance(images, _ALWAYS_ONE) or is_open_file(images):
        return GivenImages((images,), is_one=True)
    if isinstance(images, np.ndarray) or is_torch_tensor(images) or hasattr(images, "dtype"):
        axes = getattr(images, "ndim", None)
        if axes == _BATCH_AXES or (axes == 1 and _is_list_of_objects(images)):
            return GivenImages(list(images))  # type: ignore[arg-type]  # checked one by one
        return GivenImages((images,), is_one=True)  # type: ignore[arg-type]  # `as_source` checks it
    if not isinstance(images, Iterable):
        raise InvalidInputError(
            f"images of type {type(images).__name__}; give an image, a list or another iterable of images, a folder, "
            "or a pattern such as photos/*.jpg"
        )
    return GivenImages(images)


def read_open_files(images: Iterable[ImageInput | ImageSource], max_bytes: int) -> Iterator[ImageInput | ImageSource]:
    """Replace each open file by its contents, or by the error, in the thread that iterates.

    A file has one position, so it must be read once and in order; workers check and label an image several times.
    """
    for index, image in enumerate(images):
        yield _read(image, index, max_bytes) if is_open_file(image) else image


def _read(image: ImageInput, index: int, max_bytes: int) -> ImageSource:
    try:
        return as_source(image, index, max_bytes)
    except DA3Error as error:
        return ImageSource(open_file_label(image, index), error)  # type: ignore[arg-type]  # an open file


def _from_path(path: str | os.PathLike[str], exclude: Collection[Path]) -> GivenImages:
    text = os.fsdecode(path)
    if not os.path.isdir(text) and not is_pattern(text):
        return GivenImages((path,), is_one=True)
    found = find_with_folders([text], exclude=exclude, recursive_hint=f"pass {os.path.join(text, '**')!r}")
    return GivenImages([one.path for one in found], folder=found[0].folder)


def _is_list_of_objects(array: object) -> bool:
    """Whether a one-dimensional array, such as a column of a table, holds paths or other objects, not numbers."""
    return getattr(getattr(array, "dtype", None), "kind", None) in ("O", "U", "T")
