"""Decode a batch file by file after the library rejected it as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from depth_anything_3.inputs.header import Buffer, ImageHeader

if TYPE_CHECKING:
    import torch

__all__ = ["check_stored_size", "decode_each", "encoded_tensor", "error_summary"]


def decode_each(
    decode: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
    files: Sequence[torch.Tensor],
    headers: Sequence[ImageHeader],
    name: str,
) -> list[torch.Tensor | str]:
    """Decode a batch in one call, and file by file if that fails, so that one bad file does not fail the others.

    Args:
        decode: decodes files to (3, H, W) pixels; raises `RuntimeError` if one of them cannot be decoded.
        files: encoded files as 1-D uint8 tensors on the CPU.
        headers: header of each file from `probe`.
        name: name of the decoder, for the reasons.

    Returns:
        For each file, (H, W, 3) pixels, or the reason why it was not decoded.
    """
    if not files:
        return []
    try:
        decoded: list[torch.Tensor | str] = list(decode(list(files)))
    except RuntimeError as error:
        if len(files) == 1:
            return [error_summary(error, name)]
        return [decode_each(decode, [file], [header], name)[0] for file, header in zip(files, headers, strict=True)]
    return [
        one if isinstance(one, str) else check_stored_size(one.permute(1, 2, 0), header, name)
        for one, header in zip(decoded, headers, strict=True)
    ]


def check_stored_size(pixels: torch.Tensor, header: ImageHeader, name: str) -> torch.Tensor | str:
    """Return (H, W, 3) pixels if they have the header's size, else the reason to reject them."""
    height, width = header.stored_hw
    if tuple(pixels.shape) != (height, width, 3):
        return f"{name} returned pixels of shape {tuple(pixels.shape)}, but the header says {width}x{height}"
    return pixels


def encoded_tensor(data: Buffer) -> torch.Tensor:
    """Return a file as a 1-D uint8 tensor. Read-only memory is copied, because torch warns about it."""
    import torch

    writable = isinstance(data, bytearray) or (isinstance(data, memoryview) and not data.readonly and data.contiguous)
    return torch.frombuffer(data if writable else bytearray(data), dtype=torch.uint8)


def error_summary(error: Exception, name: str) -> str:
    """Return the first line of a library's error, without its source location."""
    first_line = str(error).partition("\n")[0]
    return f"{name}: {re.sub(r'^[^,]*, [^,]*:[0-9]+, ', '', first_line)}"
