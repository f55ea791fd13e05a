"""Select and open a resampler for a device.

`triton` and `torch` apply the operators of `resample_passes`, so they agree with the CPU kernel:

- `triton`: two kernel launches per batch; CUDA only.
- `torch`: matrix products, on any torch device.
- `kornia`: a generic GPU resize, for comparison only; about 32 dB from the reference at 4K.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Protocol

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import ResamplerName
from depth_anything_3.inputs.plan.resize_plan import ResizePlan
from depth_anything_3.runtime.device_errors import out_of_memory
from depth_anything_3.runtime.devices import empty_cache

__all__ = ["GPUResampler", "available_resamplers", "open_resampler"]

logger = logging.getLogger(__name__)


class GPUResampler(Protocol):
    """Resample images on their device, caching each plan's operators there. Not thread-safe."""

    name: str

    def __call__(
        self,
        images: Sequence[torch.Tensor],
        plan: ResizePlan,
        slots: Sequence[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        """Resample images of one plan into their slots, asynchronously on the current stream.

        Args:
            images: uint8 RGB views (H, W, 3) on the device, of the plan's `stored_hw` and of any strides: packed, four
                channels without the last, permuted planar, or grey expanded to three channels.
            plan: the geometry of all images.
            slots: index of each result in the batch.
            pixels: (N, 3, height, width) uint8, contiguous; upright RGB is written at `slots`.
            normalized: the same shape in float32, bfloat16 or float16, contiguous, or None; float32 values as from
                `normalize`, rounded once to the dtype, are written at `slots`.
        """
        ...

    def normalize(self, pixels: torch.Tensor, slots: Sequence[int], normalized: torch.Tensor) -> None:
        """Normalise the images at `slots` of `pixels`, (N, 3, height, width) uint8 on the device."""
        ...


def available_resamplers(device: torch.device) -> tuple[ResamplerName, ...]:
    """Return the exact resamplers for this device, fastest first; never `kornia`."""
    cuda = device.type == "cuda" and torch.version.hip is None  # the kernels are not tested on ROCm
    return ("triton", "torch") if cuda and _triton_runs(device) else ("torch",)


def _triton_runs(device: torch.device) -> bool:
    """Whether a kernel compiles and launches, which also needs a C compiler and Python's headers."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from depth_anything_3.inputs.resample.triton_resampler import TritonResampler

        try:
            _run_triton(TritonResampler(device), device)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            empty_cache(device)  # a shortage says nothing about Triton
            _run_triton(TritonResampler(device), device)
    except Exception as error:  # compilers, drivers and read-only folders raise various errors
        logger.warning("Triton is not usable; resampling with torch instead, which is slower: %s", error)
        return False
    return True


def _run_triton(resampler: GPUResampler, device: torch.device) -> None:
    tiny = torch.zeros((1, 3, 14, 14), dtype=torch.uint8, device=device)
    resampler.normalize(tiny, [0], torch.empty(tiny.shape, device=device))
    torch.cuda.synchronize(device)


def open_resampler(name: str, device: torch.device) -> GPUResampler:
    """Open a resampler by name.

    Args:
        name: one of `available_resamplers`, or "kornia".
        device: device of the images.

    Raises:
        UnsupportedError: the name is unknown, the device is not supported, or the package is not installed.
    """
    if name == "kornia":
        if importlib.util.find_spec("kornia") is None:
            raise UnsupportedError("resampler 'kornia': the package is not installed; run `pip install kornia`")
        from depth_anything_3.inputs.resample.kornia_resampler import KorniaResampler

        return KorniaResampler(device)
    if name not in ("torch", "triton") or (name == "triton" and device.type != "cuda"):
        raise UnsupportedError(
            f"resampler {name!r} on {device} is not supported; choose torch, triton (CUDA only) or kornia"
        )
    if name == "triton":
        from depth_anything_3.inputs.resample.triton_resampler import TritonResampler

        return TritonResampler(device)
    from depth_anything_3.inputs.resample.torch_resampler import TorchResampler

    return TorchResampler(device)
