"""Recognise out-of-memory errors, and translate the errors of devices into `DeviceError`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError

__all__ = ["describes_out_of_memory", "error_reason", "out_of_memory", "translate_device_errors"]

_DEVICE_ERRORS = (
    "CUDA error", "CUDA driver error", "CUDA Runtime failure", "CUDNN_STATUS", "CUBLAS_STATUS", "HIP error",
    "MPS backend", "Triton Error",
)  # fmt: skip

_OUT_OF_MEMORY = re.compile(
    # Torch's allocators, the CUDA and HIP runtimes and drivers, Triton, MPS: "CUDA error: out of memory",
    # "CUDA_ERROR_OUT_OF_MEMORY", "hipErrorOutOfMemory", "kIOGPUCommandBufferCallbackErrorOutOfMemory".
    r"out[ _]?of[ _]?memory|cudaErrorMemoryAllocation|insufficient memory"
    # Metal limits one buffer; torch says that the size is invalid.
    r"|invalid buffer size"
    # cuBLAS, cuDNN, cuFFT, cuSOLVER; cuDNN 9: "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED".
    r"|alloc(ation)?_failed"
    # cuBLAS and cuDNN say so too when there is no memory for a new handle.
    r"|(cublas|cudnn)_status_not_initialized"
    # Torch tried every algorithm of a convolution; none had the workspace that it needs.
    r"|unable to find (a valid cudnn algorithm|an engine to execute this computation)"
    # nvJPEG and nvImageCodec report numbers: cudaErrorMemoryAllocation is 2, NVJPEG_STATUS_ALLOCATOR_FAILURE 5.
    r"|cuda runtime failure:? '#2'|cuda error #2\b|nvjpeg[^\n]*\b5'?\s*(\n|$)"
    r"|allocator[ _]failure|memory allocator error"
    # Host memory: torch, C++, the operating system.
    r"|DefaultCPUAllocator|not enough memory|can(no|')t allocate memory|bad_alloc|failed to allocate",
    re.IGNORECASE,
)


def describes_out_of_memory(text: str) -> bool:
    """Whether an error's text, of any library, means that device or host memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


def out_of_memory(error: BaseException) -> bool:
    """Whether the error means that device or host memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and describes_out_of_memory(str(error))


def error_reason(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


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
        reason = error_reason(error)
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
