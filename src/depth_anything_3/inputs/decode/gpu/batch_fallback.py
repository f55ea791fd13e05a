"""Decode a batch file by file after the library rejected it as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from depth_anything_3.inputs.decode.gpu.output_guard import AllocationGuard
from depth_anything_3.inputs.header import Buffer, ImageHeader

if TYPE_CHECKING:
    import torch

__all__ = ["check_stored_size", "decode_each", "encoded_tensor", "error_summary"]


def decode_each(
    decode: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]],
    files: Sequence[torch.Tensor],
    headers: Sequence[ImageHeader],
    name: str,
    guard: AllocationGuard | None = None,
) -> list[torch.Tensor | str]:
    """Decode a batch in one call, and file by file if that fails, so that one bad file does not fail the others.

    Files whose outputs are not guarded are decoded again alone, and rejected if that does not help.

    Args:
        decode: decodes files to (3, H, W) pixels; raises `RuntimeError` if one of them cannot be decoded.
        files: encoded files as 1-D uint8 tensors on the CPU.
        headers: header of each file from `probe`.
        name: name of the decoder, for the reasons.
        guard: wipes the memory of the outputs before each call; None if there is no need.

    Returns:
        For each file, (H, W, 3) pixels, or the reason why it was not decoded.
    """
    if not files:
        return []

    def alone(index: int) -> torch.Tensor | str:
        return decode_each(decode, [files[index]], [headers[index]], name, guard)[0]

    wiped = guard.wipe_next([header.stored_hw for header in headers]) if guard else {}
    try:
        decoded = list(decode(list(files)))
    except RuntimeError as error:
        if len(files) == 1:
            return [error_summary(error, name)]
        return [alone(index) for index in range(len(files))]
    results: list[torch.Tensor | str] = []
    for index, (planes, header) in enumerate(zip(decoded, headers, strict=True)):
        if guard is None or wiped.get(planes.data_ptr(), 0) >= planes.numel():
            results.append(check_stored_size(planes.permute(1, 2, 0), header, name))
        elif len(files) > 1:
            results.append(alone(index))
        else:
            results.append(f"{name}: the memory that it decoded into could not be wiped before")
    return results


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
