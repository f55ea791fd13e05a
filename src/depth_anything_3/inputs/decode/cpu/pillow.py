"""Decode any supported format with Pillow, the reference's decoder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from depth_anything_3.errors import ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.pillow_open import Buffer, open_image

__all__ = ["HINT", "decode", "pixels_of", "stored_pixels", "truncated_allowed"]

HINT = "Copy it again. To decode its intact part, pass allow_truncated=True"

logger = logging.getLogger(__name__)


def decode(data: Buffer, label: str, *, allow_truncated: bool = False) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB of an encoded image as stored; with `allow_truncated`, decode as far as possible.

    Raises:
        ImageDecodeError: the file is truncated or damaged, its format is unknown, or its samples are floating-point.
    """
    try:
        with open_image(data, label) as image:
            return stored_pixels(image, label)
    except ImageDecodeError as error:
        if not allow_truncated:
            raise
        with truncated_allowed(), open_image(data, label) as image:
            pixels = stored_pixels(image, label)
        logger.warning("%s: truncated or damaged (%s); decoded as far as possible", label, error.__cause__ or error)
        return pixels


class _TruncatedFlag:
    """Per-thread replacement for Pillow's `LOAD_TRUNCATED_IMAGES`: true in threads that enabled it, else its old value.

    Pillow's flag is global, so setting it would also affect threads that must reject truncated files.
    """

    state = threading.local()  # shared, because two threads may install the flag at the same time

    def __init__(self, default: object) -> None:
        self._default = default

    def __bool__(self) -> bool:
        return getattr(self.state, "enabled", False) or bool(self._default)


@contextmanager
def truncated_allowed() -> Iterator[None]:
    """Let Pillow decode truncated files in this thread; other threads are not affected."""
    flag: object = ImageFile.LOAD_TRUNCATED_IMAGES
    if not isinstance(flag, _TruncatedFlag):
        flag = _TruncatedFlag(flag)
        ImageFile.LOAD_TRUNCATED_IMAGES = flag  # type: ignore[assignment]  # stays installed; other threads see the old value
    flag.state.enabled = True
    try:
        yield
    finally:
        flag.state.enabled = False


def stored_pixels(image: Image.Image, label: str) -> npt.NDArray[np.uint8]:
    """Decode an image that was just opened, and that nobody else uses, without its orientation. See `pixels_of`."""
    if image.format == "TIFF":  # Pillow would apply it
        with suppress(Exception):  # Pillow raises almost anything on damaged directories; decoding reports it
            image.getexif()[0x0112] = 1
    return pixels_of(image, label)


def pixels_of(image: Image.Image, label: str) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB of a PIL image, decoding it if necessary.

    16-bit grey is scaled to 8 bits (Pillow's own conversion would clip it to white).

    Raises:
        ImageDecodeError: the image is truncated or damaged, or its samples have no fixed range.
        ImageSizeError: the image has no pixels.
    """
    if image.width == 0 or image.height == 0:
        raise ImageSizeError(f"{label}: no pixels")
    try:
        image.load()
        if image.mode.startswith("I;16"):
            grey = np.asarray(image.copy(), np.float32)  # a copy has the size of the pixels, also in a turned TIFF
            return np.repeat(np.rint(grey / 257.0).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ImageDecodeError(
                f"{label}: {'floating-point' if image.mode == 'F' else '32-bit'} samples have no fixed range; "
                "scale the image to 8 bits first"
            )
        return np.asarray(image.convert("RGB"))
    except ImageDecodeError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins may raise anything on damaged data
        what = "truncated" if "truncated" in str(error).lower() else "damaged"
        kind = image.format or "image"
        raise ImageDecodeError(f"{label}: {what} {kind} ({error}). {HINT}") from error
