"""Open image files of the supported formats with Pillow, without decoding them."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

from PIL import Image, UnidentifiedImageError

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageSizeError
from depth_anything_3.inputs.camera_raw import CAMERA_RAW, raw_format
from depth_anything_3.inputs.file_kind import file_kind
from depth_anything_3.runtime.packages import install_hint

__all__ = ["FORMATS", "JPEG_START", "Buffer", "open_image"]

Buffer = bytes | bytearray | memoryview

JPEG_START = b"\xff\xd8\xff"

_MIN_BYTES = 64  # fewer than any image of these formats has
_MIN_READS = 200_000
_BYTES_PER_READ = 1024
_PURE_PYTHON_FORMATS = ("QOI", "BMP", "DIB", "ICO")  # decoded, at least partly, by Pillow's Python code

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
"""The formats that Pillow may read. Others are excluded: they start programs, or are not images."""

_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC_BRANDS = frozenset({b"mif1", b"msf1"})


class _BudgetedFile(io.BytesIO):
    """A file that limits the number of reads by Pillow's Python plugins.

    A malicious file of tiny chunks would take minutes while holding the interpreter lock; normal files are read
    thousands of bytes at a time.

    Attributes:
        unbounded: whether to lift the limit.
    """

    def __init__(self, data: Buffer, label: str) -> None:
        super().__init__(data)
        self._label = label
        self._left = _MIN_READS + len(data) // _BYTES_PER_READ
        self.unbounded = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file.

        Raises:
            ImageDecodeError: the read budget is exhausted.
        """
        self._left -= 1
        if self._left < 0 and not self.unbounded:
            raise ImageDecodeError(f"{self._label}: damaged image (too many small chunks)")
        return super().read(size)


def open_image(data: Buffer, label: str) -> Image.Image:
    """Read an image's header with Pillow, HEIC with pillow-heif.

    Args:
        data: complete encoded file.
        label: name of the image in errors.

    Raises:
        ImageDecodeError: the format is not supported, its library is not installed, or the header is damaged.
        ImageSizeError: the image exceeds Pillow's pixel limit, for formats that allocate when opened.
    """
    try:
        return _open_heif(data, label) if _is_heif(data) else _open(data, label)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(
            f"{label}: the header states too many pixels ({error}); "
            "if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except UnidentifiedImageError as error:
        fault = f"truncated or damaged {error}: its header cannot be read" if str(error) else _unidentified(data)
        raise ImageDecodeError(f"{label}: {fault}") from None
    except (DA3Error, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins may raise anything on a damaged header
        raise ImageDecodeError(f"{label}: {_header_fault(data, error)}") from error


def _header_fault(data: Buffer, error: Exception) -> str:
    """Say why an image could not be opened, in place of what Pillow's parts say."""
    text = str(error).lower()
    if bytes(data[:2]) == JPEG_START[:2]:
        return _unidentified(data)
    if "too large" in text:
        return "damaged image header: its text or colour profile is too large"
    if "unsupported" in text or "not supported" in text:
        return "image of a known format, in a variant that is not supported; convert it to PNG or JPEG"
    if len(data) < _MIN_BYTES:
        return f"truncated or damaged image: its header is not complete in {len(data)} byte{'s' * (len(data) > 1)}"
    return "truncated or damaged image: its header cannot be read"


def _unidentified(data: Buffer) -> str:
    """Say what a file is that no decoder accepts, by its first bytes."""
    start, raw, kind = bytes(data[:12]), raw_format(data), file_kind(data)
    if raw is not None:
        return CAMERA_RAW.format(raw)
    if kind is not None:
        return f"not an image of a supported format but {kind.name}{f'; {kind.hint}' if kind.hint else ''}"
    if start.startswith(JPEG_START[:2]):
        return f"truncated or damaged JPEG: its header is not complete in {len(data):,} bytes"
    return f"not an image of a known format (it starts with {start!r})"


def _open(data: Buffer, label: str) -> Image.Image:
    """Open like `Image.open`, but without its process-wide pixel limit.

    Raises:
        UnidentifiedImageError: no format accepts the file; its text is the format that the first bytes are of, if any.
    """
    Image.init()
    recognised = ""
    prefix = bytes(data[:16])
    for name in FORMATS:
        if name == "TGA" and file_kind(data) is not None:  # a TGA has no signature: other files may look like one
            break
        factory, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(prefix)
        if accepted and not isinstance(accepted, str):  # a string names a library that Pillow was built without
            recognised = recognised or (name if accepts is not None else "")
            with suppress(SyntaxError, IndexError, TypeError, struct.error):  # not this format
                file = _BudgetedFile(data, label)
                image = factory(file, "")
                file.unbounded = image.format in _PURE_PYTHON_FORMATS
                return image
    raise UnidentifiedImageError(recognised)


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
        raise ImageDecodeError(f"{label}: a HEIC image, which needs pillow-heif; {install_hint('heif')}") from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image
