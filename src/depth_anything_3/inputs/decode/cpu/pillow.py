"""Pillow's decoders: the reference's own, for everything that the others do not read the same way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from depth_anything_3.errors import ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.pillow_open import Buffer, open_image

__all__ = ["CURE", "decode", "pixels_of", "truncated_allowed"]

CURE = "Copy it again, decode what there is with allow_truncated=True, or pass on_error='skip' to go on without it."

logger = logging.getLogger(__name__)


def decode(data: Buffer, label: str, *, allow_truncated: bool = False) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an encoded image; if cut or damaged ones are allowed, of as much as there is.

    Raises:
        ImageDecodeError: truncated, damaged, unknown, or with floating-point samples.
    """
    try:
        with open_image(data, label) as image:
            return pixels_of(image, label)
    except ImageDecodeError as error:
        if not allow_truncated:
            raise
        with truncated_allowed(), open_image(data, label) as image:
            pixels = pixels_of(image, label)
        logger.warning("%s: cut or damaged (%s); decoded as far as it goes", label, error.__cause__ or error)
        return pixels


class _Truncated:
    """Stands where Pillow has its flag for cut files: true in threads that asked, else what the flag was.

    Pillow has one flag for the whole process, so setting it would let pass what other threads want refused.
    """

    asked = threading.local()  # one for all: two threads that come first at a time may each put theirs there

    def __init__(self, otherwise: object) -> None:
        self._otherwise = otherwise

    def __bool__(self) -> bool:
        return getattr(self.asked, "now", False) or bool(self._otherwise)


@contextmanager
def truncated_allowed() -> Iterator[None]:
    """Within the block, Pillow decodes cut files in this thread; in others it goes on as before."""
    flag: object = ImageFile.LOAD_TRUNCATED_IMAGES
    if not isinstance(flag, _Truncated):
        flag = _Truncated(flag)
        ImageFile.LOAD_TRUNCATED_IMAGES = flag  # type: ignore[assignment]  # stays: to others, it is what was there
    flag.asked.now = True
    try:
        yield
    finally:
        flag.asked.now = False


def pixels_of(image: Image.Image, label: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a PIL image, decoding it if that has not happened yet.

    16-bit grey is scaled to 8 bits (Pillow's own conversion would clip it to white).

    Raises:
        ImageDecodeError: truncated, damaged, or with samples that have no fixed range.
        ImageSizeError: the image has no pixels.
    """
    if image.width == 0 or image.height == 0:
        raise ImageSizeError(f"{label}: no pixels")
    try:
        image.load()
        if image.mode.startswith("I;16"):
            grey = np.asarray(image, np.float32)
            return np.repeat(np.rint(grey / 257.0).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise ImageDecodeError(
                f"{label}: {'floating-point' if image.mode == 'F' else '32-bit'} samples have no fixed range; "
                "scale the picture to 8 bits first"
            )
        return np.asarray(image.convert("RGB"))
    except ImageDecodeError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged data
        what = "truncated" if "truncated" in str(error).lower() else "damaged"
        kind = image.format or "image"
        raise ImageDecodeError(f"{label}: {what} {kind} ({error}). {CURE}") from error
