"""Decode JPEG files on GPUs with torchvision.

It upsamples chroma by nearest neighbour, so it is not exact. Its decoders are deprecated since 0.29 in favour of
torchcodec; this adapter serves installations that have only torchvision.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import decode_each, encoded_tensor, error_summary
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.output_guard import AllocationGuard
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.cuda_events import wait_for_stream
from depth_anything_3.runtime.packages import check_cuda_build, package_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "TorchvisionDecoder", "find"]

NAME = "torchvision"
_DEPRECATION = "The image decoding and encoding capabilities of TorchVision are deprecated"


def find(device_type: str) -> DecoderTraits:
    """Describe the installed decoder without importing it.

    Raises:
        UnsupportedError: it is not installed, or built without CUDA.
    """
    version = package_version(NAME, extra="torchvision")
    check_cuda_build(NAME, version, device_type)
    return DecoderTraits(NAME, version, exact=False)


class TorchvisionDecoder:
    """A `GPUDecoder` on torchvision.

    Creating one silences torchvision's deprecation warning for the whole process, because warning filters around each
    call would not be thread-safe.

    Args:
        device: a CUDA device, or "cpu".

    Raises:
        UnsupportedError: the library is missing or cannot be loaded.
    """

    def __init__(self, device: torch.device) -> None:
        self._traits = find(device.type)
        self._device = device
        try:
            from torchvision.io import ImageReadMode, decode_jpeg

            self.guard = AllocationGuard(device) if device.type == "cuda" else None
        except (ImportError, OSError, RuntimeError) as error:  # its native libraries are built for one torch version
            raise UnsupportedError(f"{NAME} cannot be loaded: {error_summary(error, NAME)}") from error
        warnings.filterwarnings("ignore", message=_DEPRECATION, category=DeprecationWarning)
        self._decode_jpeg, self._mode = decode_jpeg, ImageReadMode.RGB

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `GPUDecoder.decode`."""

        def decode(batch: list[torch.Tensor]) -> Sequence[torch.Tensor]:
            # It decodes on a stream of its own, into memory from torch that the current stream may still use.
            wait_for_stream(self._device)
            decoded: Sequence[torch.Tensor] = self._decode_jpeg(batch, mode=self._mode, device=self._device)
            return decoded

        return decode_each(decode, [encoded_tensor(data) for data in files], headers, NAME, self.guard)

    def close(self) -> None:
        """Do nothing: the library caches its decoder for the lifetime of the process."""
