"""Translate the errors of devices and their memory into `DeviceError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError

__all__ = ["out_of_memory", "translate_device_errors"]

_DEVICE_ERRORS = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "HIP error", "MPS backend")
_CPU_MEMORY = "DefaultCPUAllocator"  # how torch begins what it has to say of the CPU's


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, the device's or the machine's."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _CPU_MEMORY in str(error)
    )


@contextmanager
def translate_device_errors(device: torch.device) -> Iterator[None]:
    """Translate CUDA, MPS and out-of-memory errors in the block into `DeviceError`; others pass.

    Raises:
        DeviceMemoryError: memory ran out.
        DeviceError: the device failed, or is gone.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, DeviceError):
            raise
        reason = str(error).strip().partition("\n")[0]
        if out_of_memory(error):
            raise DeviceMemoryError(
                f"{device}: memory ran out ({reason}); give fewer views or a smaller process_res, or end what else "
                "uses its memory"
            ) from error
        if not any(one in reason for one in _DEVICE_ERRORS):
            raise
        raise DeviceError(
            f"{device}: the device failed ({reason}), and this process can use it no longer; what was finished is "
            "kept. Run it again, with --resume to go on; if it fails again, look at the driver's log"
        ) from error
