"""Decode binary PGM and PPM files of any maximum value."""

from __future__ import annotations

import re

import numpy as np

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.decode.cpu import pillow
from depth_anything_3.inputs.decode.cpu.decoded import Decoded
from depth_anything_3.inputs.decode.cpu.samples import as_rgb, to_8_bits
from depth_anything_3.inputs.header import Buffer

__all__ = ["decode"]

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P([56])%b(\d{1,9})%b(\d{1,9})%b(\d{1,5})(?:#[^\r\n]*[\r\n])?\s" % (_GAP, _GAP, _GAP))
_MAX_HEADER = 4096


def decode(data: Buffer, label: str, *, allow_truncated: bool = False) -> Decoded | None:
    """Return an image scaled by its maximum value; None for files that Pillow decodes: text and bitmaps.

    Pillow would read samples of more than 8 bits one by one.

    Raises:
        ImageDecodeError: the file is truncated.
    """
    header = _HEADER.match(bytes(data[:_MAX_HEADER]))
    if header is None:
        return None
    kind, width, height, maximum = map(int, header.groups())
    channels = 3 if kind == 6 else 1
    dtype = np.dtype("u1" if maximum < 256 else ">u2")
    wanted = height * width * channels
    found = np.frombuffer(data, np.uint8, offset=header.end())
    if not 0 < maximum < 65_536:
        raise ImageDecodeError(f"{label}: damaged PPM: its maximum value is {maximum}, but 1 to 65,535 are accepted")
    row_size = width * channels * dtype.itemsize
    samples = found[: min(height, found.size // max(row_size, 1)) * row_size].view(dtype)
    warnings: tuple[str, ...] = ()
    if samples.size < wanted:
        if not allow_truncated:
            raise ImageDecodeError(f"{label}: truncated PPM. {pillow.HINT}")
        samples = np.concatenate([samples, np.zeros(wanted - samples.size, dtype)])
        warnings = ("truncated PPM; decoded as far as possible",)
    return Decoded(as_rgb(to_8_bits(samples, maximum).reshape(height, width, channels)), warnings)
