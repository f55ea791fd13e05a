"""Every error a user can meet, each naming the input and the hint.

    DA3Error
    ├── InvalidInputError (ValueError)      an argument is not what is accepted
    │   ├── ImageTypeError (TypeError)      not an image this package takes
    │   ├── ImageSizeError                  no usable result for this size, or too many pixels
    │   ├── ShapeMismatchError              images that cannot share one batch, lists of different lengths
    │   └── UnsupportedError                asked for something this model or build cannot do
    ├── ImageReadError (OSError)            the file is missing, not a file, or cannot be opened
    │   └── ImageDecodeError (ValueError)   the bytes are not a whole, readable picture
    ├── VideoReadError (OSError)            a video, camera or stream cannot be opened, or has no frames
    │   └── VideoDecodeError (ValueError)   it is damaged or broke off; what came before was delivered
    ├── CheckpointError                     weights cannot be had
    │   ├── CheckpointNotFoundError (FileNotFoundError)   no such folder, repository or network
    │   └── CheckpointFormatError (ValueError)            the files are damaged or of another model
    ├── DeviceError (RuntimeError)          the GPU failed, or is gone
    │   └── DeviceMemoryError (MemoryError) memory ran out
    └── ExportError (OSError)               a result could not be written

Each is also the built-in error that a caller would expect to catch.
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
    "InvalidInputError",
    "ShapeMismatchError",
    "UnsupportedError",
    "VideoDecodeError",
    "VideoReadError",
]


class DA3Error(Exception):
    """Base of all errors this package raises on purpose."""


class InvalidInputError(DA3Error, ValueError):
    """An argument is not what is accepted; the message quotes it and lists what is."""


class ImageTypeError(InvalidInputError, TypeError):
    """The object is no image this package takes: wrong type, dtype, or channel count."""


class ImageSizeError(InvalidInputError):
    """The image is empty, too large, or too thin for the result asked for."""


class ShapeMismatchError(InvalidInputError):
    """Images that cannot share one batch, or per-image lists of different lengths."""


class UnsupportedError(InvalidInputError):
    """The model or this build cannot do what was asked; the message says what can."""


class ImageReadError(DA3Error, OSError):
    """The file is missing, is not a regular file, or cannot be opened."""


class ImageDecodeError(ImageReadError, ValueError):
    """The bytes are not a whole picture of a readable format."""


class VideoReadError(DA3Error, OSError):
    """A video file, camera or stream is missing, cannot be opened, or holds no frames."""


class VideoDecodeError(VideoReadError, ValueError):
    """A video is damaged or broke off; the frames before that were delivered."""


class CheckpointError(DA3Error):
    """Weights cannot be had."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No such folder or hub repository, or the hub cannot be reached."""


class CheckpointFormatError(CheckpointError, ValueError):
    """The checkpoint's files are damaged, or belong to another model."""


class DeviceError(DA3Error, RuntimeError):
    """A GPU failed or is gone; the process can use it no longer."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device's memory does not hold what is to be computed, however little of it at a time."""


class ExportError(DA3Error, OSError):
    """A result could not be written."""
