"""Keep weights in float32 when a module is converted to low precision."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["keep_float32"]

logger = logging.getLogger(__name__)

_LOW = (torch.float16, torch.bfloat16)

Convert = Callable[[Tensor], Tensor]


def keep_float32(convert: Convert) -> tuple[Convert, torch.dtype | None]:
    """Split what `Module.half`, `to` or `float` does to each tensor.

    Args:
        convert: the argument of `Module._apply`.

    Returns:
        A function that moves tensors to the same device but leaves them float32, and the requested dtype; the dtype is
        None if `convert` changes none. Other dtypes are converted.
    """
    moved = convert(torch.empty(0))
    if moved.dtype in _LOW:
        logger.warning("weights stay float32; the backbone computes in %s, by autocast", moved.dtype)
        return lambda tensor: tensor.to(moved.device), moved.dtype
    made_float = moved.dtype is torch.float32 and convert(torch.empty(0, dtype=torch.float16)).dtype is torch.float32
    return convert, torch.float32 if made_float else None
