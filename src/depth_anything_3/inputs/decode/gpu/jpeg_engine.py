"""A GPU's index in, how many hardware JPEG engines it has out, as the driver says through nvJPEG."""

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
    """nvJPEG as a `ctypes` library (its functions are untyped), from NVIDIA's wheels or the system; None if absent."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def jpeg_engines(device_index: int, load: Callable[[], Any] = load_nvjpeg) -> int | None:
    """How many JPEG engines a GPU has, and this process may use.

    A slice of a GPU may have none though the GPU has, and consumer GPUs have none: never guess it from a name.

    Args:
        device_index: as CUDA counts.
        load: gives nvJPEG, or None.

    Returns:
        The number; 0 if nvJPEG says that this GPU has no hardware backend. None if the question could not be put: no
        nvJPEG, one from before CUDA 11.9 or for another driver, or no answer.
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
        if status != 0:  # anything else says nothing of the GPU: a driver too old for this library, no memory
            return 0 if status in _NO_ENGINE else None
        try:
            engines, cores = ctypes.c_uint(), ctypes.c_uint()
            status = library.nvjpegGetHardwareDecoderInfo(handle, ctypes.byref(engines), ctypes.byref(cores))
            return engines.value if status == 0 else None
        finally:
            library.nvjpegDestroy(handle)


def _current(device_index: int) -> AbstractContextManager[object]:
    """Makes the device current, which is the one nvJPEG asks."""
    import torch

    return torch.cuda.device(device_index) if torch.cuda.is_available() else nullcontext()


def _candidates() -> Iterator[str]:
    """Where nvJPEG may be, the newest first: NVIDIA's wheels, then the system's search path."""
    windows = sys.platform == "win32"
    names = [f"nvjpeg64_{major}.dll" if windows else f"libnvjpeg.so.{major}" for major in _MAJORS]
    spec = importlib.util.find_spec("nvidia")  # a namespace package: importing it runs nothing
    for root in (spec and spec.submodule_search_locations) or ():
        for folder in ("cu13", "nvjpeg"):
            for name in names:
                path = Path(root, folder, "bin" if windows else "lib", name)
                if path.is_file():
                    yield str(path)
    yield from names
