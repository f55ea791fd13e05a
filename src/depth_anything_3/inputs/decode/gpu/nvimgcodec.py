"""Decode JPEG files on NVIDIA GPUs with nvImageCodec.

It uses the GPU's JPEG engines if it has any, else its multiprocessors; interpolates chroma as libjpeg does; and a bad
file does not fail the batch. On the device "cpu" the same calls run on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import check_stored_size, error_summary
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.jpeg_engine import load_nvjpeg, nvjpeg_version
from depth_anything_3.inputs.decode.gpu.pinned_files import PinnedFiles
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.packages import install_hint, package_version, require_min_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "NvImageCodecDecoder", "find"]

NAME = "nvimgcodec"
_EXACT_NVJPEG = 13  # major version
_DISTRIBUTIONS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")


def find(device_type: str) -> DecoderTraits:
    """Describe the installed decoder without importing it.

    Raises:
        UnsupportedError: it is not installed or too old, or the nvJPEG that it needs on a GPU is missing.
    """
    version = package_version(NAME, extra="cuda", distributions=_DISTRIBUTIONS)
    require_min_version(
        NAME, version, (0, 9), why="older versions have no CPU-only device or cannot reuse memory", extra="cuda"
    )
    if device_type == "cuda" and load_nvjpeg() is None:
        raise UnsupportedError(f"{NAME} does not find nvJPEG; {install_hint('cuda')}")
    return DecoderTraits(NAME, version, exact=device_type != "cuda" or _rounds_as_libjpeg())


def _rounds_as_libjpeg() -> bool:
    """Whether nvJPEG can be expected to stay within the levels that `EXACT` allows its decoders.

    CUDA 13.0 changed the rounding of its transform, chroma sampling and colour conversion; older versions have not been
    compared with libjpeg.
    """
    version = nvjpeg_version(load_nvjpeg)
    return version is None or version[0] >= _EXACT_NVJPEG


class NvImageCodecDecoder:
    """A `GPUDecoder` on nvImageCodec.

    Its memory is reused between calls and grows to the largest batch and images seen. The next call overwrites it, so
    work on the previous pixels must have finished by then.

    Args:
        device: a CUDA device, or "cpu".
        pinned: copy the files into page-locked memory first. `benchmarks/gpu_suite.py` compares both; until it has run
            on a GPU, the default is the simpler way.

    Raises:
        UnsupportedError: the library is missing, too old, or does not run on this device.
    """

    def __init__(self, device: torch.device, *, pinned: bool = False) -> None:
        self._traits = find(device.type)
        self._device = device
        try:
            from nvidia import nvimgcodec

            self._decoder = _create(nvimgcodec, device)
        except (ImportError, RuntimeError) as error:
            raise UnsupportedError(f"{NAME} is not usable on {device}: {error_summary(error, NAME)}") from error
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        self._pinned = PinnedFiles(device) if pinned else None
        self._code_stream = nvimgcodec.CodeStream
        self._images: list[Any] = []  # nvimgcodec.Image has no type information
        self._files: list[Any] = []  # or the library's streams of their copies

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `GPUDecoder.decode`."""
        if not files:
            return []
        # The library accepts no memoryview. Keep the files until the next call: their upload may outlast this one.
        self._files = [bytes(data) if isinstance(data, memoryview) else data for data in files]
        if self._pinned is not None:
            self._files = [self._code_stream(view) for view in self._pinned(self._files)]
        # The library requires exactly one output image per file.
        reusable = self._images[: len(files)] if len(self._images) >= len(files) else None
        try:
            images = self._decoder.decode(
                self._files, images=reusable, params=self._params, cuda_stream=self._current_stream()
            )
        except RuntimeError as error:  # such as out of GPU memory
            self._images = []
            return [error_summary(error, NAME)] * len(files)
        if reusable is None:
            self._images = [image for image in images if image is not None]
        return [
            f"{NAME} could not decode the file" if image is None else check_stored_size(self._view(image), header, NAME)
            for image, header in zip(images, headers, strict=True)
        ]

    def close(self) -> None:
        """Release the decoder's memory."""
        self._images, self._files, self._decoder, self._pinned = [], [], None, None

    def _current_stream(self) -> int:
        import torch

        return torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0

    def _view(self, image: Any) -> torch.Tensor:
        """Return an image's pixels without a copy.

        Uses the array interfaces instead of DLPack, which calls the CUDA runtime even on the CPU, and which older
        versions allow only once per image.
        """
        import torch

        if self._device.type == "cuda":
            return torch.as_tensor(image, device=self._device)
        return torch.from_numpy(np.asarray(image))


def _create(nvimgcodec: Any, device: torch.device) -> Any:
    """Create the library's decoder; both are untyped."""
    import torch

    kind = nvimgcodec.BackendKind
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        # Not CPU_ONLY: this package's CPU decoders handle what the GPU cannot decode, and the result records it.
        kinds = [kind.HW_GPU_ONLY, kind.GPU_ONLY, kind.HYBRID_CPU_GPU]
    else:
        index = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
        kinds = [kind.CPU_ONLY]
    return nvimgcodec.Decoder(
        device_id=index, backends=[nvimgcodec.Backend(one) for one in kinds], options=":fancy_upsampling=1"
    )
