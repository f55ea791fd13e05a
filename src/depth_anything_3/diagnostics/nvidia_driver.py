"""Find the NVIDIA driver, and why torch cannot use its GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import torch

from depth_anything_3.runtime.container import CAPABILITIES_VARIABLE, missing_driver_capability

__all__ = ["driver_version", "why_no_gpu"]

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver, from nvidia-smi or the system; None if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            done = subprocess.run(
                [tool, "--query-gpu=driver_version", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            return done.stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):  # installed without a driver, or without a GPU
            pass
    try:
        found = re.search(r"\d{3,}\.\d+(\.\d+)?", _DRIVER_FILE.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[0] if found else None


def why_no_gpu(driver: str) -> str:
    """Say why torch finds no GPU although there is an NVIDIA driver, and what to do.

    Args:
        driver: version of the driver.
    """
    visible = os.environ.get(_VISIBLE)
    if visible is not None and (not visible.strip() or visible.strip().startswith("-")):
        return f"NVIDIA driver {driver} is installed, but {_VISIBLE}={visible!r} hides every GPU; unset it"
    hidden = missing_driver_capability("compute")
    if hidden is not None:
        return (
            f"NVIDIA driver {driver} is installed, but torch finds no GPU: {hidden}; start the container with "
            f"{CAPABILITIES_VARIABLE}=compute,utility,video"
        )
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
    return (
        f"NVIDIA driver {driver} is installed, but torch {torch.__version__} {built} and finds no GPU; install a "
        "torch build for your driver, see https://pytorch.org/get-started"
    )
