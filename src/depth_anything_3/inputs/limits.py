"""Default limits of what is read of a file."""

from __future__ import annotations

__all__ = ["MAX_BYTES", "MAX_PIXELS"]

MAX_PIXELS = 178_956_970
"""Pixels that an image may have: the bound that Pillow uses; half a gigabyte of 8-bit RGB."""

MAX_BYTES = 1 << 30
"""Size of a file: twice what `MAX_PIXELS` fill with 8 bits a sample and no compression."""
