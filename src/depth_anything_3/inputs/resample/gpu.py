"""Full-size uint8 pictures on a device and their plan in, the network's uint8 and normalised pictures out.

Every resampler carries out the operators of `resample_passes`, so they agree with the CPU kernel; they differ in what
they need and in speed:

- `triton`: two launches for a batch; CUDA only.
- `torch`: matrix products, on any device torch has.
- `kornia`: a generic GPU resize as the field uses it, for comparison only; tens of decibels away from the reference.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Protocol

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.plan.resize_plan import ResizePlan

__all__ = ["DeviceResampler", "available_resamplers", "open_resampler"]

logger = logging.getLogger(__name__)


class DeviceResampler(Protocol):
    """Resamples pictures where they lie. For one thread at a time: it keeps each plan's operators on the device."""

    name: str

    def __call__(
        self,
        pictures: Sequence[torch.Tensor],
        plan: ResizePlan,
        slots: Sequence[int],
        pixels: torch.Tensor,
        normalized: torch.Tensor | None,
    ) -> None:
        """Resample pictures of one plan into their slots, on the current stream and without waiting for it.

        Args:
            pictures: uint8 RGB views (H, W, 3) on the device, all of the plan's `stored_hw`, of any strides: packed,
                four channels with the last cut off, planar and permuted, grey expanded to three channels.
            plan: the geometry, of all of them.
            slots: where in the batch each picture's result goes.
            pixels: (N, 3, height, width) uint8, contiguous, written at `slots`: upright RGB.
            normalized: the same shape in float32, bfloat16 or float16, contiguous, written at `slots` too: float32
                values as `normalize` gives them, rounded once to the dtype.
        """
        ...

    def normalize(self, pixels: torch.Tensor, slots: Sequence[int], normalized: torch.Tensor) -> None:
        """Normalise pictures that are already (N, 3, height, width) uint8 on the device, at `slots` only."""
        ...


def available_resamplers(device: torch.device) -> tuple[str, ...]:
    """The exact resamplers that work on this device, the fastest first. `kornia` is never among them."""
    cuda = device.type == "cuda" and torch.version.hip is None  # the kernels were never tried on ROCm
    return ("triton", "torch") if cuda and _triton_runs(device) else ("torch",)


def _triton_runs(device: torch.device) -> bool:
    """Whether a kernel can be compiled and launched: that takes a C compiler and Python's headers as well."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from depth_anything_3.inputs.resample.triton_resampler import TritonResampler

        tiny = torch.zeros((1, 3, 14, 14), dtype=torch.uint8, device=device)
        TritonResampler(device).normalize(tiny, [0], torch.empty(tiny.shape, device=device))
        torch.cuda.synchronize(device)
    except Exception as error:  # compilers, drivers and folders that cannot be written fail in ways of their own
        logger.warning("Triton cannot be used, so torch resamples, which is slower: %s", error)
        return False
    return True


def open_resampler(name: str, device: torch.device) -> DeviceResampler:
    """Make the resampler of that name.

    Args:
        name: one of `available_resamplers`, or "kornia".
        device: where the pictures will be.

    Raises:
        UnsupportedError: it does not exist, does not run on this device, or its package is not installed.
    """
    if name == "kornia":
        if importlib.util.find_spec("kornia") is None:
            raise UnsupportedError("resampler 'kornia': the package is not installed; run `pip install kornia`")
        from depth_anything_3.inputs.resample.kornia_resampler import KorniaResampler

        return KorniaResampler(device)
    if name not in ("torch", "triton") or (name == "triton" and device.type != "cuda"):
        raise UnsupportedError(f"resampler {name!r} on {device}: there are torch, triton (on CUDA) and kornia")
    if name == "triton":
        from depth_anything_3.inputs.resample.triton_resampler import TritonResampler

        return TritonResampler(device)
    from depth_anything_3.inputs.resample.torch_resampler import TorchResampler

    return TorchResampler(device)
