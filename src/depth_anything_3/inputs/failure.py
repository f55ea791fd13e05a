"""What to do about an image that cannot be used, and the record of one that could not."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from depth_anything_3.errors import DA3Error

__all__ = ["ImageFailure", "log_failure", "raise_failure"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFailure:
    """An image that was left out.

    Attributes:
        index: its place in the caller's list.
        label: how it is named: its path, or its place and kind.
        error: why; the message names the image and the cure.
    """

    index: int
    label: str
    error: DA3Error


def log_failure(failure: ImageFailure) -> None:
    """Tell of an image that was left out."""
    logger.warning("skipped: %s", failure.error)


def raise_failure(failure: ImageFailure) -> None:
    """Raise what is wrong with an image."""
    raise failure.error
