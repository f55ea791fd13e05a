"""Choose devices and dtypes, and wait for devices."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from depth_anything_3.errors import InvalidInputError

__all__ = [
    "DtypeName",
    "choose_device",
    "default_dtype",
    "empty_cache",
    "low_precision",
    "memory_is_scarce",
    "parse_dtype",
    "synchronize",
    "total_memory",
]

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""The names that `parse_dtype` accepts."""


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the named device; for None or "auto" the first available of CUDA, Apple's GPU and the CPU.

    Raises:
        InvalidInputError: the device is unknown or not available.
    """
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InvalidInputError(f"device={str(device)!r} {_unusable(device, error)}") from None
    return chosen


def _unusable(device: object, error: Exception) -> str:
    """Say why a device cannot be used, and which can."""
    names = ["auto", "cpu"]
    names += ["cuda"] if torch.cuda.is_available() else []
    names += [f"cuda:{index}" for index in range(1, torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    here = f"this machine has {', '.join(map(repr, names))}"
    kind = str(device).partition(":")[0].lower()
    if kind in ("gpu", "nvidia", "apple", "metal"):
        return f"is unknown; a GPU is 'cuda' (NVIDIA, AMD) or 'mps' (Apple); {here}"
    if kind not in ("cuda", "mps", "cpu"):
        return f"is unknown; {here}"
    reason = str(error).splitlines()[0].split(". ")[0]  # the first sentence; the rest is about torch's internals
    return f"cannot be used ({reason}); {here}"


def default_dtype(device: torch.device) -> torch.dtype:
    """Return the default dtype of the backbone's computation on a device."""
    if device.type != "cuda":
        return torch.float32
    # By capability: emulated bfloat16 on older cards is slower than float16.
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Parse a dtype; None and "auto" give None.

    Raises:
        InvalidInputError: it is not one of float32, bfloat16 and float16.
    """
    accepted = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is None or dtype == "auto":
        return None
    if dtype in accepted.values():
        return dtype  # type: ignore[return-value]
    if isinstance(dtype, str) and dtype in accepted:
        return accepted[dtype]
    raise InvalidInputError(f"dtype={dtype!r} is unknown; choose 'auto', {', '.join(map(repr, accepted))}")


def low_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:  # Any: torch's context
    """Return a context that enables autocast to `dtype`; for float32, one that leaves the caller's autocast as it is.

    The network disables autocast outside its backbone.
    """
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def empty_cache(device: torch.device) -> None:
    """Return the unused memory that torch holds on a device to its driver, for other libraries to use."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def total_memory(device: torch.device) -> int | None:
    """Return the bytes of memory that a GPU has, or that Apple's GPU should use at most; None for the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return None


def memory_is_scarce(device: torch.device) -> bool:
    """Whether less than a 32nd of a CUDA device's memory is free for other libraries; False on other devices."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return bool(free < total // 32)
