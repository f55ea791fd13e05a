"""Decode JPEG files on NVIDIA GPUs with nvImageCodec.

It uses the GPU's JPEG engines if it has any, else its multiprocessors; interpolates chroma as libjpeg does; and a bad
file does not fail the batch. On the device "cpu" the same calls run on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import check_stored_size, error_summary
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits, memory_budget
from depth_anything_3.inputs.decode.gpu.jpeg_engine import load_nvjpeg
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.packages import install_hint, package_version, require_min_version
from depth_anything_3.runtime.threads import usable_cores

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "NvImageCodecDecoder", "find"]

NAME = "nvimgcodec"
_DISTRIBUTIONS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")
_MIN_THREADS, _MAX_THREADS = 4, 8  # each thread has nvJPEG states of its own; the library's default is one per core


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
    return DecoderTraits(NAME, version, exact=True)


class NvImageCodecDecoder:
    """A `GPUDecoder` on nvImageCodec.

    Its memory is reused between calls, so the next call overwrites it: work on the previous pixels must have finished
    by then. Each place in a batch grows to the largest image that it has held; when all places together would pass
    `memory_budget`, they are released first.

    Args:
        device: a CUDA device, or "cpu".

    Raises:
        UnsupportedError: the library is missing, too old, or does not run on this device.
    """

    def __init__(self, device: torch.device) -> None:
        self._traits = find(device.type)
        self._device = device
        # The library logs files that it rejects, and each optional library that is absent, as errors.
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
        try:
            from nvidia import nvimgcodec

            self._budget = memory_budget(device)
            self._decoder = _create(nvimgcodec, device)
        except (ImportError, RuntimeError) as error:
            raise UnsupportedError(f"{NAME} is not usable on {device}: {error_summary(error, NAME)}") from error
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)
        self._images: list[Any] = []  # nvimgcodec.Image has no type information
        self._files: list[bytes | bytearray] = []

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
        reusable = self._reusable(headers)
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
        self._images, self._files, self._decoder = [], [], None

    def _reusable(self, headers: Sequence[ImageHeader]) -> list[Any] | None:
        """Return the previous images whose memory the next ones take; if there are too few or too large, drop them."""
        needed = [3 * height * width for height, width in (one.stored_hw for one in headers)]
        needed += [0] * (len(self._images) - len(needed))
        held = [image.capacity for image in self._images]
        # The library requires exactly one output image per file.
        if len(held) < len(headers) or sum(map(max, held, needed)) > self._budget:
            self._images = []
            return None
        return self._images[: len(headers)]

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
        device_id=index,
        max_num_cpu_threads=_decoder_threads(),
        backends=[nvimgcodec.Backend(one) for one in kinds],
        options=":fancy_upsampling=1",
    )


def _decoder_threads() -> int:
    """Return the size of the library's thread pool: 4 to 8, but no more than the machine has cores."""
    return min(os.cpu_count() or 1, max(_MIN_THREADS, min(usable_cores(), _MAX_THREADS)))
