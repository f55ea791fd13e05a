"""Translate the errors of devices and their memory into `DeviceError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError

__all__ = ["out_of_memory", "translate_device_errors"]

_DEVICE_ERRORS = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "HIP error", "MPS backend")
_CPU_MEMORY = "DefaultCPUAllocator"  # in torch's message when host memory runs out


def out_of_memory(error: BaseException) -> bool:
    """Whether the error means that device or host memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _CPU_MEMORY in str(error)
    )


@contextmanager
def translate_device_errors(device: torch.device) -> Iterator[None]:
    """Translate CUDA, MPS and out-of-memory errors in the block into `DeviceError`; other errors pass.

    Raises:
        DeviceMemoryError: memory ran out.
        DeviceError: the device failed, or is no longer available.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, DeviceError):
            raise
        reason = str(error).strip().partition("\n")[0]
        if out_of_memory(error):
            raise DeviceMemoryError(
                f"{device}: memory ran out ({reason}); use fewer views or a smaller process_res, or free memory used "
                "by other programs"
            ) from error
        if not any(one in reason for one in _DEVICE_ERRORS):
            raise
        raise DeviceError(
            f"{device}: the device failed ({reason}) and cannot be used by this process any more; finished results "
            "are saved. Run again in a new process; if it fails again, see the driver's log"
        ) from error
