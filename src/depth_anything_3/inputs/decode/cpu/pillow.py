"""Decode any supported format with Pillow, the reference's decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.decode.cpu.samples import as_rgb, to_8_bits
from depth_anything_3.inputs.pillow_open import Buffer, open_image

__all__ = ["HINT", "decode", "pixels_of", "stored_pixels", "truncated_allowed"]

HINT = "Copy it again. To decode its intact part, pass allow_truncated=True"

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES = 258, 262, 277, 284  # TIFF tags
_IN_PLANES = 2


def decode(data: Buffer, label: str, *, allow_truncated: bool = False) -> Decoded:
    """Decode an encoded image as stored; with `allow_truncated`, as far as possible.

    Raises:
        ImageDecodeError: the file is truncated or damaged, its format is unknown, or its samples are floating-point.
    """
    try:
        with open_image(data, label) as image:
            return Decoded(stored_pixels(image, label))
    except ImageDecodeError as error:
        if not allow_truncated:
            raise
        with truncated_allowed(), open_image(data, label) as image:
            pixels = stored_pixels(image, label)
        what = str(error).removeprefix(f"{label}: ").removesuffix(f". {HINT}")
        return Decoded(pixels, (f"{what}; decoded as far as possible",))


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

    16-bit grey is scaled to 8 bits (Pillow's own conversion would clip it to white). Alpha is dropped, not blended.

    Raises:
        ImageDecodeError: the image is truncated or damaged, its samples have no fixed range, or Pillow decodes it
            wrongly.
        ImageSizeError: the image has no pixels.
    """
    if image.width == 0 or image.height == 0:
        raise ImageSizeError(f"{label}: no pixels")
    tags = _tiff_tags(image)
    if tags.get(_PLANES) == _IN_PLANES and tags.get(_SAMPLES, 1) != 1 and max(tags.get(_BITS) or (1,)) > 8:
        raise ImageDecodeError(
            f"{label}: Pillow mixes up the planes of this 16-bit TIFF; pass the path or bytes of the file instead"
        )
    try:
        image.load()
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            return _grey(image, tags)
        if image.mode not in ("I", "F"):
            return np.asarray(_without_alpha(image).convert("RGB"))
    except (DA3Error, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins may raise anything on damaged data
        what = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise ImageDecodeError(f"{label}: {what} {image.format or 'image'}. {HINT}") from error
    raise ImageDecodeError(
        f"{label}: {'floating-point' if image.mode == 'F' else 'signed 32-bit'} samples have no fixed range; "
        "scale the image to 8 bits first"
    )


def _grey(image: Image.Image, tags: dict[int, Any]) -> npt.NDArray[np.uint8]:
    """Return RGB of grey of more than 8 bits: 16, or what a TIFF says; its white may be 0."""
    bits = max(tags.get(_BITS) or (16,))
    samples = np.asarray(image.copy())  # a copy has the size of the pixels, also in a turned TIFF
    grey = to_8_bits(
        samples if samples.dtype.itemsize == 2 else np.maximum(samples, 0).astype(np.uint16), (1 << bits) - 1
    )
    return as_rgb(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Divide premultiplied colours by their alpha; Pillow has no direct conversion to RGB."""
    return image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode]) if image.mode in ("La", "RGBa") else image


def _tiff_tags(image: Image.Image) -> dict[int, Any]:  # Any: a tag's value may be anything
    """Return the tags of an image that Pillow read from a TIFF, and that was not changed since."""
    return dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
