"""Word the line of Python that converts an array or tensor to an accepted image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["array_hint", "shape_hint", "tensor_hint"]

_MAX_LEVEL = 255
_MAX_16_BITS = 65535


def array_hint(array: npt.NDArray[Any]) -> str:  # Any: the dtype is what is wrong
    """Return the hint for an array of another dtype than uint8, by the range of its values."""
    kind = array.dtype.kind
    if kind not in "biuf" or array.size == 0:
        return "pass values from 0 to 255 as uint8"
    values = np.asarray(array, np.float64) if kind == "f" else array  # float16 would overflow
    return _conversion(kind, float(values.min()), float(values.max()), ".astype(np.uint8)")


def tensor_hint(tensor: torch.Tensor) -> str:
    """Return the hint for a tensor of another dtype than uint8, by the range of its values."""
    if tensor.is_complex() or tensor.numel() == 0:
        return "pass values from 0 to 255 as torch.uint8"
    kind = "f" if tensor.is_floating_point() else "b" if str(tensor.dtype) == "torch.bool" else "i"
    values = tensor.detach().double()  # min and max are missing for some dtypes
    return _conversion(kind, float(values.min()), float(values.max()), ".to(torch.uint8)")


def _conversion(kind: str, low: float, high: float, cast: str) -> str:
    """Return the hint for values of a kind of numpy's dtypes, from `low` to `high`."""
    if kind == "b":
        return f"pass image{cast} * 255"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "its values are not all finite; pass values from 0 to 255 as uint8"
    span = f"its values are {low:.4g} to {high:.4g}"
    if low < 0:
        return f"{span}; pass the image before normalisation, or scale it to 0 to 255"
    if kind == "f" and high <= 1:
        return f"{span}; pass (255 * image).round(){cast}"
    if high <= _MAX_LEVEL:
        return f"{span}; pass image{'.round()' if kind == 'f' else ''}{cast}"
    if kind != "f" and high <= _MAX_16_BITS:
        return f"{span}; for samples of 16 bits pass (image / 257).round(){cast}"
    return f"{span}; scale them to 0 to 255, then pass image.round(){cast}"


def shape_hint(shape: tuple[int, ...], *, tensor: bool = False) -> str:
    """Return the hint for a shape that is not accepted, with its separator; empty if there is none.

    Args:
        shape: shape of the array or tensor.
        tensor: channels must be first, as in tensors, not last.
    """
    if len(shape) == 1:
        return "; for the bytes of an encoded file pass " + ("bytes(image.tolist())" if tensor else "image.tobytes()")
    if len(shape) > 3:
        return "; of more than one image pass a list, or an array of four axes alone"
    if tensor:
        return _tensor_shape_hint(shape)
    if shape[2] == 1:
        return "; pass image[..., 0]"
    if shape[0] in (1, 3, 4):
        return "; pass image[0]" if shape[0] == 1 else "; pass image.transpose(1, 2, 0)"
    return "; of several grey images pass list(images)"


def _tensor_shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 or shape[0] == 1:
        return "; pass image.expand(3, -1, -1)"
    if len(shape) == 3 and shape[2] in (3, 4):
        return f"; pass image{'[..., :3]' if shape[2] == 4 else ''}.permute(2, 0, 1)"
    return "; pass image[:3]" if shape[0] == 4 else ""
