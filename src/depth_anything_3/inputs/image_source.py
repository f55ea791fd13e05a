"""Validate and label an input image without decoding it."""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageReadError, ImageSizeError, ImageTypeError
from depth_anything_3.inputs.file_kind import ADDRESS
from depth_anything_3.inputs.limits import MAX_BYTES
from depth_anything_3.inputs.pixel_hints import array_hint, shape_hint, tensor_hint
from depth_anything_3.inputs.yuv_planes import YuvPlanes

if TYPE_CHECKING:
    import torch

__all__ = [
    "BinaryFile",
    "ImageInput",
    "ImageSource",
    "PilImage",
    "as_source",
    "check_bytes",
    "is_open_file",
    "is_torch_tensor",
    "open_file_label",
    "read_file",
]


class BinaryFile(Protocol):
    """An object with a method `read` that returns bytes, such as a file opened with "rb" or a `BytesIO`."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        ...


ImageInput = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    BinaryFile,
    Image.Image,
    "npt.NDArray[np.uint8]",
    "torch.Tensor",
]
"""The accepted types of one image."""

UInt8Array = npt.NDArray[np.uint8]

# Windows has no such pipes, but opens files in text mode without O_BINARY.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ACCEPTED = (
    "a path, the bytes of an image file, a file opened with 'rb', a PIL image, a uint8 array of HxWx3, HxWx4 or HxW, "
    "or a uint8 torch tensor of 3xHxW"
)
_CHUNK_BYTES = 16 << 20


class PilImage(NamedTuple):
    """What is read of a PIL image: (H, W, 3) uint8 RGB, the orientation of the pixels (1 to 8), and an Exif block."""

    pixels: UInt8Array
    orientation: int
    exif: bytes


@dataclass(frozen=True, eq=False)
class ImageSource:
    """One input image, not decoded yet.

    Attributes:
        label: name in messages and reports: its path, or its index and type.
        data: a `Path`, the bytes of a file, a PIL image, or uint8 pixels: an array (H, W, 3), (H, W, 4) or (H, W), a
            tensor (3, H, W) on any device, or the planes of a frame. For worker processes, a PIL image is replaced by
            what was read of it, or by the error.
        ready: CUDA event after which a tensor is complete; None if it is written on the current stream.
    """

    label: str
    data: (
        Path
        | bytes
        | bytearray
        | memoryview
        | Image.Image
        | UInt8Array
        | torch.Tensor
        | PilImage
        | YuvPlanes
        | DA3Error
    )
    ready: torch.cuda.Event | None = None


def as_source(image: ImageInput | ImageSource, index: int = 0, max_bytes: int = MAX_BYTES) -> ImageSource:
    """Check the type, dtype and shape of an image. An `ImageSource` is returned unchanged.

    Only an open file is read, from its position to its end; it is not closed.

    Args:
        image: see `ImageInput`. Arrays and tensors are RGB, 0 to 255; pass an OpenCV frame (BGR) as
            `frame[..., ::-1]`, which does not copy. A fourth channel (alpha) is dropped, not blended.
        index: index of the image in its list, for messages.
        max_bytes: maximum number of bytes of an open file.

    Raises:
        ImageTypeError: the type, dtype or number of channels is not accepted; or a file is open in text mode.
        ImageSizeError: the array has no pixels, or the open file more than `max_bytes`.
        ImageReadError: the open file is empty or cannot be read.
    """
    if isinstance(image, ImageSource):
        return image
    if isinstance(image, (str, os.PathLike)):
        path = os.fsdecode(image)
        return ImageSource(path, Path(path))
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = image
        if isinstance(data, memoryview) and not (data.contiguous and data.format == "B" and data.ndim == 1):
            data = data.tobytes()
        return ImageSource(f"image {index} ({len(data):,} bytes)", data)
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "")
        label = str(name) if name else f"image {index} (PIL {image.mode} {image.width}x{image.height})"
        return ImageSource(label, image)
    if isinstance(image, np.ndarray):
        return _from_array(image, index)
    if is_torch_tensor(image):
        return _from_tensor(image, index)
    if is_open_file(image):
        label = open_file_label(image, index)
        return ImageSource(label, _read_open_file(image, label, max_bytes))
    hint = "pass np.asarray(image); " if hasattr(image, "__array__") else ""
    raise ImageTypeError(f"image {index} has type {type(image).__name__}; {hint}accepted: {_ACCEPTED}")


def _from_array(array: npt.NDArray[Any], index: int) -> ImageSource:  # Any: the dtype is what is being checked
    label = f"image {index} (array {'x'.join(map(str, array.shape))})"
    if array.dtype != np.uint8:
        raise ImageTypeError(f"{label}: dtype {array.dtype}, but uint8 is required; {array_hint(array)}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageTypeError(
            f"{label}: the shape must be HxWx3, HxWx4 or HxW, with RGB channels last{shape_hint(array.shape)}"
        )
    if array.size == 0:
        raise ImageSizeError(f"{label}: no pixels")
    return ImageSource(label, array)


def _from_tensor(tensor: torch.Tensor, index: int) -> ImageSource:
    label = f"image {index} (tensor {'x'.join(map(str, tensor.shape))})"
    if tensor.device.type == "meta":
        raise ImageTypeError(f"{label}: a meta tensor has no pixels")
    if str(tensor.dtype) != "torch.uint8":
        raise ImageTypeError(f"{label}: dtype {tensor.dtype}, but torch.uint8 is required; {tensor_hint(tensor)}")
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        hint = shape_hint(tuple(tensor.shape), tensor=True)
        raise ImageTypeError(f"{label}: the shape must be 3xHxW, with RGB channels first{hint}")
    if tensor.numel() == 0:
        raise ImageSizeError(f"{label}: no pixels")
    return ImageSource(label, tensor.detach())


def is_torch_tensor(value: object) -> TypeGuard[torch.Tensor]:
    """Whether an object is a tensor of torch; by name, to avoid importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def is_open_file(value: object) -> TypeGuard[BinaryFile]:
    """Whether an object has a method `read` and is not a path."""
    return callable(getattr(value, "read", None)) and not isinstance(value, os.PathLike)


def open_file_label(file: BinaryFile, index: int) -> str:
    """Return the name of an open file; its index and type if it has none."""
    name = getattr(file, "name", None)  # the number of a descriptor, or "<stdin>", names no file
    if isinstance(name, (str, bytes, os.PathLike)) and (text := os.fsdecode(name)) and not text.startswith("<"):
        return text
    return f"image {index} ({type(file).__name__})"


def _read_open_file(file: BinaryFile, label: str, max_bytes: int) -> bytes:
    """Read an open file from its position to its end, but no more than `max_bytes` and one byte."""
    text_mode = f"{label}: the file is open in text mode; open it with 'rb'"
    opened: object = file
    if isinstance(opened, io.TextIOBase):
        raise ImageTypeError(text_mode)
    parts: list[bytes] = []
    size = 0
    while size <= max_bytes:
        try:
            # In parts, because a file without buffer allocates what it is asked for.
            part: object = file.read(min(_CHUNK_BYTES, max_bytes + 1 - size))
        except Exception as error:  # a caller's object may raise anything; one bad image costs one image
            raise ImageReadError(f"{label}: cannot be read ({error or type(error).__name__})") from error
        if isinstance(part, str):
            raise ImageTypeError(text_mode)
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise ImageTypeError(f"{label}: read() returned {type(part).__name__}, not bytes")
        if not part:
            break
        parts.append(bytes(part))
        size += len(parts[-1])
    if not parts:
        raise ImageReadError(
            f"{label}: the file is empty, or was read to its end before; file.seek(0) returns to its beginning"
        )
    check_bytes(size, label, max_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        ImageReadError: the file is missing, empty or unreadable, or a folder, pipe or device (which could block).
        ImageSizeError: the file is larger than `max_bytes`.
    """
    try:
        _check_regular(path, os.stat(path))  # before opening, because opening a device can have side effects
        # Check again: the path may have changed. O_NONBLOCK keeps a pipe from waiting for its writer.
        with open(os.open(path, os.O_RDONLY | _OPEN_FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            _check_regular(path, status)
            check_bytes(status.st_size, str(path), max_bytes)
            return file.read(status.st_size)
    except FileNotFoundError:
        raise ImageReadError(_missing(str(path))) from None
    except (ImageReadError, ImageSizeError):
        raise
    except ValueError:  # a null byte in the name
        raise ImageReadError(f"{str(path)!r}: not a valid file name") from None
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read ({error.strerror})") from error


def _missing(path: str) -> str:
    address = ADDRESS.match(path)
    if address is None:
        hint = "; if it is a pattern, pass it alone instead of in a list" if re.search(r"[*?]", path) else ""
        return f"{path}: no such file{hint}"
    shown = re.sub(r":/+", "://", path, count=1)  # `Path` merges slashes
    if shown.lower().startswith("file:"):
        return f"{shown}: no such file; give the path alone, without file://"
    return f"{shown}: images are read from disk, not from addresses; download it first"


def check_bytes(size: int, label: str, max_bytes: int) -> None:
    """Check the size of an encoded image.

    Raises:
        ImageSizeError: it is larger than `max_bytes`.
    """
    if size > max_bytes:
        raise ImageSizeError(
            f"{label}: {size:,} bytes, more than the limit of {max_bytes:,}; if you trust the file, raise max_bytes"
        )


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageReadError(f"{path}: is a folder; pass it alone instead of in a list, or pass its files")
    if not stat.S_ISREG(status.st_mode):
        raise ImageReadError(f"{path}: not a regular file (a pipe, socket or device)")
    if status.st_size == 0:
        raise ImageReadError(f"{path}: the file is empty")
