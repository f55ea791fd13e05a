"""Describe the machine of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import torch

from depth_anything_3.inputs.decode.gpu.jpeg_engine import jpeg_engines
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["describe_gpu", "describe_machine"]

_PACKAGES = (
    "torch", "numpy", "numba", "opencv-python-headless", "pillow", "simplejpeg", "triton", "torchvision", "torchcodec",
    "kornia", "openvino", "onnxruntime",
    "nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12", "nvidia-nvjpeg", "nvidia-nvjpeg-cu12",
)  # fmt: skip
_BFLOAT16_FLAGS = {"AMX": "amx_bf16", "AVX512-BF16": "avx512_bf16", "Arm BF16": "bf16"}


def describe_machine(device: torch.device | None = None) -> dict[str, str]:
    """Processor, GPU and driver, system, versions, commit and date; the GPU only if `device` is one."""
    versions = {name: number for name in _PACKAGES if (number := _version(name))}
    gpu = {} if device is None or device.type != "cuda" else describe_gpu(device)
    return {
        "date": date.today().isoformat(),
        "processor": f"{_processor()}, {usable_cores()} cores",
        "bfloat16": _bfloat16(),
        **gpu,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "threads": f"OpenCV {cv2.getNumThreads()}, torch {torch.get_num_threads()}",
        "commit": _commit(),
    }


def describe_gpu(device: torch.device) -> dict[str, str]:
    """Name, memory, driver, CUDA and JPEG engines, asked of the driver."""
    properties = torch.cuda.get_device_properties(device)
    engines = jpeg_engines(torch.cuda.current_device() if device.index is None else device.index)
    return {
        "gpu": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
        f"{properties.multi_processor_count} multiprocessors, capability {properties.major}.{properties.minor}",
        "driver": f"{_driver()}, CUDA {torch.version.cuda}",
        "jpeg_engines": "unknown: nvJPEG is not installed" if engines is None else str(engines),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _bfloat16() -> str:
    """Return the processor's instructions for bfloat16, as far as Linux lists them."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().replace(":", " ").split())
    except OSError:
        return "unknown"
    found = [name for name, flag in _BFLOAT16_FLAGS.items() if flag in flags]
    return ", ".join(found) or "no instructions"


def _driver() -> str:
    return _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0] or "unknown"


def _commit() -> str:
    # CI systems set the variable for a copy without its history.
    answer = _answer("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    return answer or os.environ.get("GIT_COMMIT", "unknown")


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
