"""Limits on image and file sizes."""

from __future__ import annotations

from depth_anything_3.runtime.option_values import positive_int

__all__ = ["DEFAULT_PROCESS_RES", "MAX_BYTES", "MAX_PIXELS", "PATCH_SIZE", "check_process_res"]

DEFAULT_PROCESS_RES = 504
"""Length of the bounded side in pixels, for models that have no best one of their own."""

PATCH_SIZE = 14
"""Side of the network's patches in pixels; the sides of results are multiples of it."""

MAX_PIXELS = 178_956_970
"""Default maximum number of pixels of an image: Pillow's limit, half a gigabyte of 8-bit RGB."""

MAX_BYTES = 1 << 30
"""Default maximum file size in bytes: twice the size of `MAX_PIXELS` of uncompressed 8-bit RGB."""


def check_process_res(value: object) -> int:
    """Return `value` as an int.

    Raises:
        InvalidInputError: it is not an integer, or smaller than a patch.
    """
    hint = f"give a whole number of pixels, {PATCH_SIZE} or more"
    return positive_int("process_res", value, minimum=PATCH_SIZE, hint=hint)
