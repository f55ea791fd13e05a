"""A batch of files in, each one's pixels or why there are none out, for libraries that fail a batch as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from depth_anything_3.inputs.header import Buffer, ImageHeader

if TYPE_CHECKING:
    import torch

__all__ = ["as_stored", "decode_each", "encoded_tensor", "reason_of"]


def decode_each(
    decode: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
    files: Sequence[torch.Tensor],
    headers: Sequence[ImageHeader],
    name: str,
) -> list[torch.Tensor | str]:
    """Decode a batch in one call, and file by file if that fails, so that a bad file costs only itself.

    Args:
        decode: encoded files to (3, H, W) pixels; raises `RuntimeError` if one of them cannot be decoded.
        files: 1-D uint8 tensors on the CPU.
        headers: what `probe` said of each.
        name: of the decoder, for the reasons.

    Returns:
        For each file (H, W, 3) pixels, or the reason why there are none.
    """
    if not files:
        return []
    try:
        decoded: list[torch.Tensor | str] = list(decode(list(files)))
    except RuntimeError as error:
        if len(files) == 1:
            return [reason_of(error, name)]
        return [decode_each(decode, [file], [header], name)[0] for file, header in zip(files, headers, strict=True)]
    return [
        one if isinstance(one, str) else as_stored(one.permute(1, 2, 0), header, name)
        for one, header in zip(decoded, headers, strict=True)
    ]


def as_stored(pixels: torch.Tensor, header: ImageHeader, name: str) -> torch.Tensor | str:
    """(H, W, 3) pixels, if they have the size that the header says; else why they are not to be trusted."""
    height, width = header.stored_hw
    if tuple(pixels.shape) != (height, width, 3):
        return f"{name} gave pixels of shape {tuple(pixels.shape)} where the header says {width}x{height}"
    return pixels


def encoded_tensor(data: Buffer) -> torch.Tensor:
    """A file as a 1-D uint8 tensor. Read-only memory is copied: torch warns of tensors on it."""
    import torch

    writable = isinstance(data, bytearray) or (isinstance(data, memoryview) and not data.readonly and data.contiguous)
    return torch.frombuffer(data if writable else bytearray(data), dtype=torch.uint8)


def reason_of(error: Exception, name: str) -> str:
    """What a library said, in one line and without the place in its own source."""
    first_line = str(error).partition("\n")[0]
    return f"{name}: {re.sub(r'^[^,]*, [^,]*:[0-9]+, ', '', first_line)}"
