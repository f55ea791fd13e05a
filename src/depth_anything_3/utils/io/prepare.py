"""One `ImageSource` in, one `PreparedImage` out: read, probed, planned, decoded and resampled on the CPU.

Free of torch, so that a worker process starts quickly.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageSizeError
from depth_anything_3.option import Option
from depth_anything_3.utils.io.banded_operator import resample_passes
from depth_anything_3.utils.io.decode import decode
from depth_anything_3.utils.io.decode.pillow import pixels_of
from depth_anything_3.utils.io.failure import ImageFailure
from depth_anything_3.utils.io.header import probe, read_orientation
from depth_anything_3.utils.io.resample import CompiledPass, compile_passes, resample
from depth_anything_3.utils.io.resize_plan import ProcessResMethod, ResizePlan, plan_resize
from depth_anything_3.utils.io.source import ImageInput, ImageSource, as_source, read_file

__all__ = ["Exif", "ImagePreparer", "PreparedImage"]

_PLANS_KEPT = 64
_LOCKS = 64


class Exif(Option):
    """Whether a picture's EXIF orientation is honoured (`APPLY`) or left alone, as upstream does (`IGNORE`)."""

    APPLY = "apply"
    IGNORE = "ignore"


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A picture ready for a batch.

    Attributes:
        index: its place in the caller's list.
        label: how it is named in messages and reports.
        pixels: (3, height, width) uint8 RGB, upright.
        plan: the geometry that led there.
        decode_seconds, resample_seconds: time its worker spent on each; decoding includes reading the file.
    """

    index: int
    label: str
    pixels: npt.NDArray[np.uint8]
    plan: ResizePlan
    decode_seconds: float
    resample_seconds: float


class ImagePreparer:
    """Turns sources into pictures of the network's size; keeps the operators of the sizes it met.

    Sent to a worker process, it starts there without them.

    Args:
        process_res: length in pixels of the bounded side.
        process_res_method: see `ProcessResMethod`.
        exif: see `Exif`.

    Raises:
        InvalidInputError: an option is not accepted.
    """

    def __init__(
        self,
        process_res: int = 504,
        process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
        exif: Exif | str = Exif.APPLY,
    ) -> None:
        self.process_res = process_res
        self.method = ProcessResMethod(process_res_method)
        self.exif = Exif(exif)
        plan_resize((process_res, process_res), process_res, self.method)  # refuse a bad process_res at the door
        # Pillow decodes on first use and is not made for two threads at one image, which a list may hold twice.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._passes = lru_cache(maxsize=_PLANS_KEPT)(_compiled_passes)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: what pickle takes; the cache stays behind
        return ImagePreparer, (self.process_res, self.method, self.exif)

    def __call__(self, index: int, image: ImageInput) -> PreparedImage:
        """Prepare one image; `index` is its place in the caller's list.

        Raises:
            ImageTypeError: not an image.
            ImageReadError: the file cannot be opened.
            ImageDecodeError: it is not a whole, readable picture.
            ImageSizeError: empty, too large, or too thin for a usable result.
        """
        began = time.perf_counter()
        source = as_source(image, index)
        pixels, orientation = self._pixels(source)
        decoded = time.perf_counter()
        stored_hw = pixels.shape[1:] if source.planar else pixels.shape[:2]
        plan = self._plan((stored_hw[0], stored_hw[1]), orientation, source.label)
        result = resample(pixels, self._passes(plan), planar=source.planar)
        return PreparedImage(index, source.label, result, plan, decoded - began, time.perf_counter() - decoded)

    def attempt(self, index: int, image: ImageInput) -> PreparedImage | ImageFailure:
        """Like calling it, but an image that cannot be used is returned as an `ImageFailure`."""
        try:
            return self(index, image)
        except DA3Error as error:
            label = os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {index}"
            return ImageFailure(index, str(label), error)

    def _pixels(self, source: ImageSource) -> tuple[npt.NDArray[np.uint8], int]:
        """Pixels as stored and their EXIF orientation."""
        data, label = source.data, source.label
        if isinstance(data, np.ndarray):
            return data, 1
        if isinstance(data, Image.Image):
            with self._locks[(id(data) >> 4) % len(self._locks)]:
                pixels = pixels_of(data, label)
            exif = data.info.get("exif")
            if data.format == "TIFF" or not isinstance(exif, bytes):  # Pillow turns TIFFs by itself
                return pixels, 1
            return pixels, read_orientation(exif)
        encoded = read_file(data) if isinstance(data, Path) else data
        header = probe(encoded, label)
        # Before decoding: a picture that cannot be used should cost nothing.
        self._plan(header.stored_hw, header.exif_orientation, label)
        return decode(encoded, header, label), header.exif_orientation

    def _plan(self, stored_hw: tuple[int, int], orientation: int, label: str) -> ResizePlan:
        if self.exif is Exif.IGNORE:
            orientation = 1
        try:
            return plan_resize(stored_hw, self.process_res, self.method, exif_orientation=orientation)
        except ImageSizeError as error:
            raise ImageSizeError(f"{label}: {error}") from None


def _compiled_passes(plan: ResizePlan) -> tuple[CompiledPass, ...]:
    return compile_passes(resample_passes(plan))
