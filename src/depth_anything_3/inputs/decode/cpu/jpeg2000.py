"""Read the sample format of a JPEG 2000 file."""

from __future__ import annotations

from depth_anything_3.inputs.header import Buffer

__all__ = ["signed_bits"]

_CODESTREAM = b"\xff\x4f\xff\x51"
_MAX_SEARCH = 1 << 24  # bytes of boxes before the codestream
_SIGNED = 0x80


def signed_bits(data: Buffer) -> int | None:
    """Return the bits per sample if samples are signed, else None."""
    head = bytes(data[:_MAX_SEARCH])
    start = head.find(_CODESTREAM) + len(_CODESTREAM)
    if start < len(_CODESTREAM):
        return None
    count = int.from_bytes(head[start + 36 : start + 38], "big")
    formats = head[start + 38 : start + 38 + 3 * count : 3]
    return next(((one & 0x7F) + 1 for one in formats if one & _SIGNED), None)
