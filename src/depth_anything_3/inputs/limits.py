"""Limits of what is read and made of an image."""

from __future__ import annotations

from depth_anything_3.runtime.option_values import positive_int

__all__ = ["MAX_BYTES", "MAX_PIXELS", "PATCH_SIZE", "check_process_res"]

PATCH_SIZE = 14
"""Side of the network's patches in pixels: the result's sides are multiples of it."""

MAX_PIXELS = 178_956_970
"""Pixels that an image may have: the bound that Pillow uses; half a gigabyte of 8-bit RGB."""

MAX_BYTES = 1 << 30
"""Size of a file: twice what `MAX_PIXELS` fill with 8 bits a sample and no compression."""


def check_process_res(value: object) -> int:
    """Return `value` as an int.

    Raises:
        InvalidInputError: it is no whole number, or smaller than a patch.
    """
    hint = f"give a whole number of pixels, {PATCH_SIZE} or more"
    return positive_int("process_res", value, minimum=PATCH_SIZE, hint=hint)
