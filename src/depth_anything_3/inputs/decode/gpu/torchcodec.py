"""Decode JPEG files on GPUs with torchcodec.

It upsamples chroma by nearest neighbour, so it is not exact. It always applies the EXIF orientation, so EXIF blocks are
hidden from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import decode_each, encoded_tensor, error_summary
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.output_guard import AllocationGuard
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.packages import check_cuda_build, package_version, require_min_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "TorchcodecDecoder", "find"]

NAME = "torchcodec"


def find(device_type: str) -> DecoderTraits:
    """Describe the installed decoder without importing it.

    Raises:
        UnsupportedError: it is not installed, too old, or built without CUDA.
    """
    version = package_version(NAME, extra="torchcodec")
    require_min_version(
        NAME, version, (0, 17), why="older versions may corrupt images on GPUs with JPEG engines", extra="torchcodec"
    )
    check_cuda_build(NAME, version, device_type)
    return DecoderTraits(NAME, version, exact=False)


class TorchcodecDecoder:
    """A `GPUDecoder` on torchcodec. Calls block until the GPU has finished.

    Args:
        device: a CUDA device, or "cpu".

    Raises:
        UnsupportedError: the library is missing, too old, or cannot be loaded.
    """

    def __init__(self, device: torch.device) -> None:
        self._traits = find(device.type)
        self._device = device
        try:
            from torchcodec.decoders import decode_jpeg

            self.guard = AllocationGuard(device) if device.type == "cuda" else None
        except (ImportError, OSError, RuntimeError) as error:  # its native libraries are built for one torch version
            raise UnsupportedError(f"{NAME} cannot be loaded: {error_summary(error, NAME)}") from error
        self._decode_jpeg = decode_jpeg

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `GPUDecoder.decode`."""
        return decode_each(
            lambda batch: self._decode_jpeg(batch, mode="RGB", device=self._device),
            [encoded_tensor(_without_exif(data)) for data in files],
            headers,
            NAME,
            self.guard,
        )

    def close(self) -> None:
        """Do nothing: the library caches its decoders for the lifetime of the process."""


def _without_exif(data: Buffer) -> Buffer:
    """Return a JPEG with its APP1 segments renamed to APP15, which decoders skip; unchanged if it has none.

    All of them are renamed, because torchcodec parses any APP1 segment as EXIF without checking its identifier.
    """
    markers = list(_app1_markers(memoryview(data)))
    if not markers:
        return data
    renamed = bytearray(data)
    for marker in markers:
        renamed[marker] = 0xEF
    return renamed


def _app1_markers(data: memoryview) -> Iterator[int]:
    """Yield the positions of the second bytes of the APP1 markers before the first scan."""
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:  # stray or fill byte
            position += 1
        elif marker in (0xDA, 0xD9):  # start of scan, end of image
            return
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # markers without a length
            position += 2
        else:
            if marker == 0xE1:
                yield position + 1
            position += 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
