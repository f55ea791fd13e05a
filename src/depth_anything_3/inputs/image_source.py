"""Validate and label an input image without decoding it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from depth_anything_3.errors import DA3Error, ImageReadError, ImageSizeError, ImageTypeError, InvalidInputError
from depth_anything_3.inputs.file_kind import ADDRESS
from depth_anything_3.inputs.limits import MAX_BYTES

if TYPE_CHECKING:
    import torch

__all__ = ["ImageInput", "ImageSource", "PilImage", "as_source", "check_bytes", "check_image_list", "read_file"]

ImageInput = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, Image.Image, "npt.NDArray[np.uint8]", "torch.Tensor"
]
"""The accepted types of one image."""

UInt8Array = npt.NDArray[np.uint8]

# Windows has no such pipes, but opens files in text mode without O_BINARY.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ACCEPTED = (
    "a path, the bytes of an image file, a PIL image, a uint8 array of HxWx3, HxWx4 or HxW, "
    "or a uint8 torch tensor of 3xHxW"
)


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
        data: a `Path`, the bytes of a file, a PIL image, or uint8 pixels: an array (H, W, 3), (H, W, 4) or (H, W), or a
            tensor (3, H, W) on any device. For worker processes, a PIL image is replaced by what was read of it, or by
            the error.
        ready: CUDA event after which a tensor is complete; None if it is written on the current stream.
    """

    label: str
    data: Path | bytes | bytearray | memoryview | Image.Image | UInt8Array | torch.Tensor | PilImage | DA3Error
    ready: torch.cuda.Event | None = None


def check_image_list(images: Iterable[ImageInput]) -> None:
    """Check that `images` is an iterable of images and not one image, which would be iterated by letter or row.

    Raises:
        InvalidInputError: it is a single image, or not iterable.
    """
    single = isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike, Image.Image)) or hasattr(
        images, "dtype"
    )
    if single or not isinstance(images, Iterable):
        raise InvalidInputError("give a list of images or another iterable; for one image, give a list of one")


def as_source(image: ImageInput | ImageSource, index: int = 0) -> ImageSource:
    """Check the type, dtype and shape of an image without reading it. An `ImageSource` is returned unchanged.

    Args:
        image: see `ImageInput`. Arrays and tensors are RGB, 0 to 255; pass an OpenCV frame (BGR) as
            `frame[..., ::-1]`, which does not copy. A fourth channel (alpha) is dropped, not blended.
        index: index of the image in its list, for messages.

    Raises:
        ImageTypeError: the type, dtype or number of channels is not accepted.
        ImageSizeError: the array has no pixels.
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
    if _is_torch_tensor(image):
        return _from_tensor(image, index)
    raise ImageTypeError(f"image {index} has type {type(image).__name__}; accepted: {_ACCEPTED}")


def _from_array(array: npt.NDArray[Any], index: int) -> ImageSource:  # Any: the dtype is what is being checked
    label = f"image {index} (array {'x'.join(map(str, array.shape))})"
    if array.dtype != np.uint8:
        hint = (
            "multiply by 255 and round, if the range is 0 to 1" if array.dtype.kind == "f" else "scale it to 0 to 255"
        )
        raise ImageTypeError(f"{label}: dtype {array.dtype}, but uint8 is required; {hint}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageTypeError(f"{label}: the shape must be HxWx3, HxWx4 or HxW, with RGB channels last")
    if array.size == 0:
        raise ImageSizeError(f"{label}: no pixels")
    return ImageSource(label, array)


def _from_tensor(tensor: torch.Tensor, index: int) -> ImageSource:
    label = f"image {index} (tensor {'x'.join(map(str, tensor.shape))})"
    if str(tensor.dtype) != "torch.uint8":
        raise ImageTypeError(f"{label}: dtype {tensor.dtype}, but torch.uint8 (0 to 255) is required")
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ImageTypeError(f"{label}: the shape must be 3xHxW, with RGB channels first")
    if tensor.device.type == "meta":
        raise ImageTypeError(f"{label}: a meta tensor has no pixels")
    if tensor.numel() == 0:
        raise ImageSizeError(f"{label}: no pixels")
    return ImageSource(label, tensor.detach())


def _is_torch_tensor(value: object) -> bool:
    # By name, to avoid importing torch.
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


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
        return f"{path}: no such file"
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
        raise ImageReadError(f"{path}: is a folder; pass a list of its files")
    if not stat.S_ISREG(status.st_mode):
        raise ImageReadError(f"{path}: not a regular file (a pipe, socket or device)")
    if status.st_size == 0:
        raise ImageReadError(f"{path}: the file is empty")
