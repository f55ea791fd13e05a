"""The errors that this package raises. Messages name the input, say what is accepted, and give a hint.

    DA3Error
    ├── InvalidInputError (ValueError)      an argument is invalid
    │   ├── InputFileError (OSError)        a list, a saved result or a COLMAP model is missing or cannot be read
    │   ├── ImageTypeError (TypeError)      the object is not a supported image
    │   ├── ImageSizeError                  the image is empty, too large, or too thin
    │   ├── ShapeMismatchError              images cannot form one batch, or lists differ in length
    │   └── UnsupportedError                the model, the machine or this build does not support the request
    ├── ImageReadError (OSError)            an image file is missing, or cannot be opened
    │   └── ImageDecodeError (ValueError)   its contents are truncated, damaged, or of an unknown format
    ├── VideoReadError (OSError)            a video, camera or stream cannot be opened, or has no frames
    │   └── VideoDecodeError (ValueError)   it is damaged or was interrupted; earlier frames were delivered
    ├── CheckpointError                     weights could not be loaded
    │   ├── CheckpointNotFoundError (FileNotFoundError)   no such folder or repository, or the hub is unreachable
    │   └── CheckpointFormatError (ValueError)            the files are damaged, or belong to another model
    ├── DeviceError (RuntimeError)          the GPU failed, or is no longer available
    │   └── DeviceMemoryError (MemoryError) the device ran out of memory
    └── ExportError (OSError)               a result could not be written

The built-in exception in parentheses is a base class too, so handlers for it also catch these errors.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointNotFoundError",
    "DA3Error",
    "DeviceError",
    "DeviceMemoryError",
    "ExportError",
    "ImageDecodeError",
    "ImageReadError",
    "ImageSizeError",
    "ImageTypeError",
    "InputFileError",
    "InvalidInputError",
    "ShapeMismatchError",
    "UnsupportedError",
    "VideoDecodeError",
    "VideoReadError",
]


class DA3Error(Exception):
    """Base class of the errors that this package raises."""


class InvalidInputError(DA3Error, ValueError):
    """An argument is invalid; the message quotes it and lists the accepted values."""


class InputFileError(InvalidInputError, OSError):
    """A list of images, a saved result or a COLMAP model is missing, damaged, or cannot be read."""


class ImageTypeError(InvalidInputError, TypeError):
    """The object is not a supported image: wrong type, dtype, or number of channels."""


class ImageSizeError(InvalidInputError):
    """The image is empty, too large, or too thin for the requested size."""


class ShapeMismatchError(InvalidInputError):
    """Images cannot form one batch, or per-image lists differ in length."""


class UnsupportedError(InvalidInputError):
    """The model, the machine or this build does not support the request; the message names alternatives."""


class ImageReadError(DA3Error, OSError):
    """An image file is missing, is not a regular file, or cannot be opened."""


class ImageDecodeError(ImageReadError, ValueError):
    """The contents of an image are truncated, damaged, or of a format or range of samples that is not decoded."""


class VideoReadError(DA3Error, OSError):
    """A video file, camera or stream is missing, cannot be opened, or has no frames."""


class VideoDecodeError(VideoReadError, ValueError):
    """A video is damaged or was interrupted; the frames before that were delivered."""


class CheckpointError(DA3Error):
    """Weights could not be loaded."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such folder or hub repository, or the hub is unreachable."""


class CheckpointFormatError(CheckpointError, ValueError):
    """The files of a checkpoint are damaged, or belong to another model."""


class DeviceError(DA3Error, RuntimeError):
    """A GPU failed or is no longer available; this process cannot use it any more."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device ran out of memory, even at the smallest batch size."""


class ExportError(DA3Error, OSError):
    """A result could not be written."""
