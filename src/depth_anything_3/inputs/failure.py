"""Record an unusable image, log or raise its error, and log warnings about usable ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from depth_anything_3.errors import DA3Error, DeviceMemoryError, ImageDecodeError
from depth_anything_3.inputs.choices import OnError

__all__ = [
    "ImageFailure",
    "failure_handler",
    "log_failure",
    "log_warnings",
    "memory_failure",
    "raise_error",
    "raise_failure",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFailure:
    """An image that was skipped.

    Attributes:
        index: index in the caller's list.
        label: its path, or its index and type.
        error: the reason; the message names the image and a hint.
    """

    index: int
    label: str
    error: DA3Error


def memory_failure(index: int, label: str, result_hw: tuple[int, int], device: object, reason: str) -> ImageFailure:
    """Return the failure of an image that does not fit into a device's memory, even alone."""
    height, width = result_hw
    error = DeviceMemoryError(
        f"{label}: too large for the memory of {device} at {width}x{height} ({reason}); use a smaller process_res or "
        "model, or free memory used by other programs"
    )
    return ImageFailure(index, label, error)


def log_failure(failure: ImageFailure) -> None:
    """Log a skipped image."""
    logger.warning("skipped: %s", failure.error)


def raise_failure(failure: ImageFailure) -> NoReturn:
    """Raise the error of an unusable image.

    Here, and not where the error is made, a damaged image gets the hint that it could be skipped: there, it is not
    known yet whether it will be.
    """
    error = failure.error
    if not isinstance(error, ImageDecodeError):
        raise error
    hinted = type(error)(f"{str(error).removesuffix('.')}. To skip it, pass on_error='skip'")
    raise hinted.with_traceback(error.__traceback__) from error.__cause__


def raise_error(failure: ImageFailure) -> NoReturn:
    """Raise the error of the only image, which there is no use in skipping."""
    raise failure.error


def failure_handler(
    on_error: OnError, on_failure: Callable[[ImageFailure], None] | None
) -> Callable[[ImageFailure], None]:
    """Choose what is called with each unusable image: by `on_error`, and for "skip" the caller's function, or a log."""
    return raise_failure if on_error is OnError.RAISE else on_failure or log_failure


def log_warnings(warnings: Iterable[str]) -> None:
    """Log what is wrong with images that were decoded nevertheless."""
    for one in warnings:
        logger.warning("%s", one)
