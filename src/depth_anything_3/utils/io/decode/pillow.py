"""Pillow's decoders: the reference's own, for everything that OpenCV does not read the same way."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageSizeError
from depth_anything_3.utils.io.header import Buffer

__all__ = ["decode", "pixels_of"]


def decode(data: Buffer, label: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an encoded image.

    Raises:
        ImageDecodeError: truncated, damaged, unknown, or with floating-point samples.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return pixels_of(image, label)
    except UnidentifiedImageError:
        raise ImageDecodeError(f"{label}: not an image of a known format") from None
    except (DA3Error, MemoryError):
        raise
    except Exception as error:  # as below; some readers already decode while they open
        raise ImageDecodeError(f"{label}: truncated or damaged ({error})") from error


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
        raise ImageDecodeError(
            f"{label}: {what} {kind} ({error}). Copy it again, or pass on_error='skip' to go on without it."
        ) from error
