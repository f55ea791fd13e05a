"""Query the number of a GPU's hardware JPEG engines through nvJPEG."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

__all__ = ["jpeg_engines", "load_nvjpeg"]

_HARDWARE_BACKEND = 3  # NVJPEG_BACKEND_HARDWARE
_NO_ENGINE = (7, 9)  # NVJPEG_STATUS_ARCH_MISMATCH, _IMPLEMENTATION_NOT_SUPPORTED
_MAJORS = (13, 12, 11)


def load_nvjpeg() -> Any:
    """Load nvJPEG with `ctypes` (its functions are untyped) from NVIDIA's wheels or the system; None if absent."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def jpeg_engines(device_index: int, load: Callable[[], Any] = load_nvjpeg) -> int | None:
    """Return the number of JPEG engines that this process may use on a GPU.

    Consumer GPUs have none, and a MIG slice may have none even if the GPU has, so never infer it from the name.

    Args:
        device_index: CUDA device index.
        load: returns the nvJPEG library, or None.

    Returns:
        The number; 0 if nvJPEG reports no hardware backend for this GPU. None if the query is not possible: nvJPEG is
        missing, older than CUDA 11.9, incompatible with the driver, or fails.
    """
    library = load()
    if library is None or not hasattr(library, "nvjpegGetHardwareDecoderInfo"):
        return None
    library.nvjpegCreateEx.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)
    ]  # fmt: skip
    unsigned = ctypes.POINTER(ctypes.c_uint)
    library.nvjpegGetHardwareDecoderInfo.argtypes = [ctypes.c_void_p, unsigned, unsigned]
    library.nvjpegDestroy.argtypes = [ctypes.c_void_p]
    with _current(device_index):
        handle = ctypes.c_void_p()
        status = library.nvjpegCreateEx(_HARDWARE_BACKEND, None, None, 0, ctypes.byref(handle))
        if status != 0:  # other errors (old driver, no memory) say nothing about the engines
            return 0 if status in _NO_ENGINE else None
        try:
            engines, cores = ctypes.c_uint(), ctypes.c_uint()
            status = library.nvjpegGetHardwareDecoderInfo(handle, ctypes.byref(engines), ctypes.byref(cores))
            return engines.value if status == 0 else None
        finally:
            library.nvjpegDestroy(handle)


def _current(device_index: int) -> AbstractContextManager[object]:
    """Make the device current, because nvJPEG queries the current one."""
    import torch

    return torch.cuda.device(device_index) if torch.cuda.is_available() else nullcontext()


def _candidates() -> Iterator[str]:
    """Yield possible locations of nvJPEG, newest first: NVIDIA's wheels, then the system's search path."""
    windows = sys.platform == "win32"
    names = [f"nvjpeg64_{major}.dll" if windows else f"libnvjpeg.so.{major}" for major in _MAJORS]
    spec = importlib.util.find_spec("nvidia")  # a namespace package: importing it runs no code
    for root in (spec and spec.submodule_search_locations) or ():
        for folder in ("cu13", "nvjpeg"):
            for name in names:
                path = Path(root, folder, "bin" if windows else "lib", name)
                if path.is_file():
                    yield str(path)
    yield from names
