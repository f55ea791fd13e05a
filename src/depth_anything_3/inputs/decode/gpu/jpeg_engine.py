"""Query the number of a GPU's hardware JPEG engines through nvJPEG, and why there is none."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_anything_3.runtime.container import CAPABILITIES_VARIABLE, missing_driver_capability
from depth_anything_3.runtime.packages import install_hint

__all__ = ["MissingEngine", "jpeg_engines", "load_nvjpeg", "missing_engine", "nvjpeg_version"]

_HARDWARE_BACKEND = 3  # NVJPEG_BACKEND_HARDWARE
_NO_ENGINE = (7, 9)  # NVJPEG_STATUS_ARCH_MISMATCH, _IMPLEMENTATION_NOT_SUPPORTED
_MAJORS = (13, 12, 11)
_VIDEO_LIBRARY = "nvcuvid.dll" if sys.platform == "win32" else "libnvcuvid.so.1"
"""The driver's video library, through which nvJPEG reaches the engines."""


@dataclass(frozen=True)
class MissingEngine:
    """Why a process can use no JPEG engine; for display only.

    Attributes:
        cause: in a few words.
        hint: what to do.
    """

    cause: str
    hint: str


def load_nvjpeg() -> Any:
    """Load nvJPEG with `ctypes` (its functions are untyped) from NVIDIA's wheels or the system; None if absent."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def nvjpeg_version(load: Callable[[], Any] = load_nvjpeg) -> tuple[int, int, int] | None:
    """Return the (major, minor, patch) version of nvJPEG; None if it is absent or does not answer.

    Args:
        load: returns the `ctypes` library (its functions are untyped), or None.
    """
    library = load()
    if library is None or not hasattr(library, "nvjpegGetProperty"):
        return None
    major, minor, patch = (ctypes.c_int() for _ in range(3))
    if any(library.nvjpegGetProperty(which, ctypes.byref(part)) for which, part in enumerate((major, minor, patch))):
        return None
    return major.value, minor.value, patch.value


def jpeg_engines(device_index: int, load: Callable[[], Any] = load_nvjpeg) -> int | None:
    """Return the number of JPEG engines that this process may use on a GPU.

    Consumer GPUs have none, and a MIG slice may have none even if the GPU has, so never infer it from the name.

    Args:
        device_index: CUDA device index.
        load: returns the nvJPEG library, or None.

    Returns:
        The number; 0 if nvJPEG reports no hardware backend for this process, which may be the fault of the container
        (`missing_engine` finds out). None if the query is not possible: nvJPEG is missing, older than CUDA 11.9,
        incompatible with the driver, or fails.
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


def missing_engine(
    engines: int | None, device_name: str, load: Callable[[], Any] = load_nvjpeg, video_library: str = _VIDEO_LIBRARY
) -> MissingEngine | None:
    """Find out why a process can use no JPEG engine.

    nvJPEG gives the same answer for a GPU without engines and for a container that hides them, so what hides them is
    looked for first.

    Args:
        engines: result of `jpeg_engines`.
        device_name: name of the CUDA device; the driver marks slices of a GPU with "MIG".
        load: returns the nvJPEG library, or None.
        video_library: name of the driver's video library.

    Returns:
        The cause and a hint; None if there are engines.
    """
    if engines:
        return None
    if not _loads(video_library):
        hidden = missing_driver_capability("video")
        if hidden is not None:
            return MissingEngine(
                f"{video_library} of the NVIDIA driver cannot be loaded: {hidden}",
                f"start the container with {CAPABILITIES_VARIABLE}=compute,utility,video, which NVDEC needs too",
            )
        return MissingEngine(
            f"{video_library} of the NVIDIA driver cannot be loaded",
            "in a container, add the driver capability 'video' "
            f"({CAPABILITIES_VARIABLE}=compute,utility,video); elsewhere, install the driver's video decoding "
            "library (Debian and Ubuntu: libnvidia-decode-VERSION)",
        )
    if " MIG " in f"{device_name} " or os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-"):
        return MissingEngine(
            "this MIG slice has none",
            "use a MIG profile with JPEG engines (`nvidia-smi mig -lgip` lists them in the column JPEG), or the whole "
            "GPU",
        )
    if engines is None:
        if load() is None:
            return MissingEngine("nvJPEG was not found", install_hint("cuda"))
        return MissingEngine(
            "nvJPEG does not answer",
            f"it needs CUDA 11.9 or newer and a driver that supports it; {install_hint('cuda')}",
        )
    return MissingEngine(
        "this GPU has none",
        "nothing is wrong: the CPU decodes; `da3 doctor --calibrate` measures whether the GPU's multiprocessors are "
        "faster",
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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
