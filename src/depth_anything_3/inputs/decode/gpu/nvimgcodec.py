"""JPEG files in, RGB pixels in an NVIDIA GPU's memory out, through nvImageCodec.

It takes the GPU's JPEG engines where there are any and its multiprocessors where not, interpolates chroma as libjpeg
does, and gives up on a bad file without giving up on the batch. On the device "cpu" the same calls run on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import as_stored, reason_of
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.jpeg_engine import load_nvjpeg
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.packages import package_version, require_min_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "NvImageCodecDecoder", "find"]

NAME = "nvimgcodec"
_DISTRIBUTIONS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")


def find(device_type: str) -> DecoderTraits:
    """What is installed, without importing it.

    Raises:
        UnsupportedError: it is not there, too old, or without the nvJPEG that it needs on a GPU.
    """
    version = package_version(NAME, extra="cuda", distributions=_DISTRIBUTIONS)
    require_min_version(
        NAME, version, (0, 9), why="it has no CPU-only device, or cannot reuse its memory", extra="cuda"
    )
    if device_type == "cuda" and load_nvjpeg() is None:
        raise UnsupportedError(f"{NAME} finds no nvJPEG: pip install 'depth-anything-3-fast[cuda]'")
    return DecoderTraits(NAME, version, exact=True)


class NvImageCodecDecoder:
    """A `DeviceDecoder` on nvImageCodec.

    Its memory is kept from call to call and grows to the largest batch and pictures seen. Since the next call writes
    into it, work on the last call's pixels must have ended by then.

    Args:
        device: a CUDA device, or "cpu".

    Raises:
        UnsupportedError: the library is missing, too old, or does not run on this device.
    """

    def __init__(self, device: torch.device) -> None:
        self._traits = find(device.type)
        self._device = device
        try:
            from nvidia import nvimgcodec

            self._decoder = _create(nvimgcodec, device)
        except (ImportError, RuntimeError) as error:
            raise UnsupportedError(f"{NAME} cannot be used on {device}: {reason_of(error, NAME)}") from error
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        self._images: list[Any] = []  # nvimgcodec.Image has no type information
        self._files: list[bytes | bytearray] = []

    @property
    def traits(self) -> DecoderTraits:
        """What it is."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `DeviceDecoder.decode`."""
        if not files:
            return []
        # The library takes no memoryview. Kept until the next call: the copy to the GPU may outlast this one.
        self._files = [bytes(data) if isinstance(data, memoryview) else data for data in files]
        # It wants exactly one image for each file.
        spare = self._images[: len(files)] if len(self._images) >= len(files) else None
        try:
            images = self._decoder.decode(
                self._files, images=spare, params=self._params, cuda_stream=self._current_stream()
            )
        except RuntimeError as error:  # such as no memory left on the GPU
            self._images = []
            return [reason_of(error, NAME)] * len(files)
        if spare is None:
            self._images = [image for image in images if image is not None]
        return [
            f"{NAME} could not decode it" if image is None else as_stored(self._view(image), header, NAME)
            for image, header in zip(images, headers, strict=True)
        ]

    def close(self) -> None:
        """Give its memory back."""
        self._images, self._files, self._decoder = [], [], None

    def _current_stream(self) -> int:
        import torch

        return torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0

    def _view(self, image: Any) -> torch.Tensor:
        """An image's pixels, not copied.

        By the array interfaces and not by DLPack, which on the CPU calls the CUDA runtime, and which older versions
        let be asked for once only.
        """
        import torch

        if self._device.type == "cuda":
            return torch.as_tensor(image, device=self._device)
        return torch.from_numpy(np.asarray(image))


def _create(nvimgcodec: Any, device: torch.device) -> Any:
    """The library's decoder; both are untyped."""
    import torch

    kind = nvimgcodec.BackendKind
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        # Not CPU_ONLY: what the GPU cannot decode, this package's own CPU decoders can, and say that they did.
        kinds = [kind.HW_GPU_ONLY, kind.GPU_ONLY, kind.HYBRID_CPU_GPU]
    else:
        index = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
        kinds = [kind.CPU_ONLY]
    return nvimgcodec.Decoder(
        device_id=index, backends=[nvimgcodec.Backend(one) for one in kinds], options=":fancy_upsampling=1"
    )
