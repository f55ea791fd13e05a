"""How much is read of files that others made, and how damaged they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.runtime.choice import positive_int

__all__ = ["MAX_BYTES", "MAX_PIXELS", "Reading", "ReadingOptions"]

MAX_PIXELS = 178_956_970
"""The bound that Pillow uses; half a gigabyte of 8-bit pixels."""

MAX_BYTES = 1 << 30
"""Twice what `MAX_PIXELS` fill with 8 bits a sample and no compression."""


class ReadingOptions(TypedDict, total=False):
    """The arguments of `Reading`, as functions that read images take them."""

    max_pixels: int
    max_bytes: int
    allow_truncated: bool


@dataclass(frozen=True)
class Reading:
    """What is accepted of an encoded image.

    Attributes:
        max_pixels: a picture whose header claims more is refused before memory is taken.
        max_bytes: a larger file is refused before it is read.
        allow_truncated: a file that is cut or damaged is decoded as far as it goes, as Pillow does with
            `LOAD_TRUNCATED_IMAGES`: what is missing is grey in a JPEG, black elsewhere. A warning names it.

    Raises:
        InvalidInputError: one of these is not accepted.
    """

    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_BYTES
    allow_truncated: bool = False

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes"):
            positive_int(name, getattr(self, name))
        if not isinstance(self.allow_truncated, bool):
            raise InvalidInputError(f"allow_truncated={self.allow_truncated!r}: give True or False")

    @classmethod
    def of(cls, options: dict[str, Any] | ReadingOptions) -> Reading:  # Any: what is being checked
        """From the arguments of a function that passes them on.

        Raises:
            TypeError: there is no such argument, of that function either.
        """
        unknown = options.keys() - ReadingOptions.__annotations__
        if unknown:
            raise TypeError(f"there is no argument {min(unknown)!r}")
        return cls(**options)
