"""The bytes of an image file in, Pillow's image out, not decoded yet: of the formats this package takes."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

from PIL import Image, UnidentifiedImageError

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageSizeError

__all__ = ["FORMATS", "JPEG_START", "Buffer", "open_image"]

Buffer = bytes | bytearray | memoryview

JPEG_START = b"\xff\xd8\xff"

_READS = 200_000
_BYTES_A_READ = 1024
_READ_BY_PIXEL = ("QOI", "BMP", "DIB", "ICO")  # Pillow decodes these, or kinds of them, in Python

FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "TIFF",
    "JPEG2000",
    "ICO",
    "PPM",
    "QOI",
    "SGI",
    "TGA",
)
"""What Pillow is asked to read. It knows more: some by starting other programs, some that are no pictures."""

_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC_BRANDS = frozenset({b"mif1", b"msf1"})


class _File(io.BytesIO):
    """The bytes of a file, for readers that go through it piece by piece in Python.

    A file that is all tiny pieces would take them minutes, holding the interpreter lock; others are read in thousands
    of bytes at a time.

    Attributes:
        unbounded: it may be read as often as they like.
    """

    def __init__(self, data: Buffer, label: str) -> None:
        super().__init__(data)
        self._label = label
        self._left = _READS + len(data) // _BYTES_A_READ
        self.unbounded = False

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, but not for ever.

        Raises:
            ImageDecodeError: it was read too often.
        """
        self._left -= 1
        if self._left < 0 and not self.unbounded:
            raise ImageDecodeError(f"{self._label}: damaged image (it falls into too many tiny pieces)")
        return super().read(size)


def open_image(data: Buffer, label: str) -> Image.Image:
    """Read an image's header with Pillow, HEIC with pillow-heif.

    Args:
        data: the whole encoded file.
        label: how errors name it.

    Raises:
        ImageDecodeError: of another format, of one whose library is not installed, or its header is damaged.
        ImageSizeError: of a format whose reader takes memory as it opens, with more pixels than Pillow allows then.
    """
    try:
        return _open_heif(data, label) if _is_heif(data) else _open(data, label)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(
            f"{label}: claims too many pixels ({error}); if it is to be trusted, raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except UnidentifiedImageError:
        start = bytes(data[:12])
        what = "damaged JPEG header" if start.startswith(JPEG_START) else "not an image of a known format"
        raise ImageDecodeError(f"{label}: {what} (it starts with {start!r})") from None
    except (DA3Error, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise almost anything on a damaged header
        raise ImageDecodeError(f"{label}: damaged image header ({error})") from error


def _open(data: Buffer, label: str) -> Image.Image:
    """As `Image.open`, but for its bound on pixels, which is one for the whole process."""
    Image.init()
    prefix = bytes(data[:16])
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(prefix)
        if accepted and not isinstance(accepted, str):  # words tell of a library that Pillow was built without
            with suppress(SyntaxError, IndexError, TypeError, struct.error):  # it is not theirs
                file = _File(data, label)
                image = factory(file, "")
                file.unbounded = image.format in _READ_BY_PIXEL
                return image
    raise UnidentifiedImageError


def _is_heif(data: Buffer) -> bool:
    if bytes(data[4:8]) != b"ftyp":
        return False
    brand = bytes(data[8:12])
    if brand in _ANY_CODEC_BRANDS:
        return b"avif" not in bytes(data[: min(int.from_bytes(data[:4], "big"), 256)])
    return brand in _HEVC_BRANDS


def _open_heif(data: Buffer, label: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageDecodeError(
            f"{label}: a HEIC picture, which needs an extra: pip install 'depth-anything-3-fast[heif]'"
        ) from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image
