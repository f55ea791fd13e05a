"""JPEG files in, RGB pixels in a GPU's memory out, through torchcodec.

It repeats the nearest chroma sample instead of interpolating, so it is not exact, and it always turns pictures as
their Exif block says, so such blocks are hidden from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu.batch_fallback import decode_each, encoded_tensor, reason_of
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.header import Buffer, ImageHeader
from depth_anything_3.runtime.packages import check_cuda_build, package_version, require_min_version

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "TorchcodecDecoder", "find"]

NAME = "torchcodec"


def find(device_type: str) -> DecoderTraits:
    """What is installed, without importing it.

    Raises:
        UnsupportedError: it is not there, too old, or was built without CUDA.
    """
    version = package_version(NAME, extra="torchcodec")
    require_min_version(
        NAME, version, (0, 17), why="pictures may come out corrupt on GPUs with JPEG engines", extra="torchcodec"
    )
    check_cuda_build(NAME, version, device_type)
    return DecoderTraits(NAME, version, exact=False)


class TorchcodecDecoder:
    """A `DeviceDecoder` on torchcodec. A call returns when the GPU has finished.

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
        except (ImportError, OSError, RuntimeError) as error:  # it loads native libraries, made for one torch
            raise UnsupportedError(f"{NAME} cannot be loaded: {reason_of(error, NAME)}") from error
        self._decode_jpeg = decode_jpeg

    @property
    def traits(self) -> DecoderTraits:
        """What it is."""
        return self._traits

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch at full size, on the device's current stream. See `DeviceDecoder.decode`."""
        return decode_each(
            lambda batch: self._decode_jpeg(batch, mode="RGB", device=self._device),
            [encoded_tensor(_without_exif(data)) for data in files],
            headers,
            NAME,
        )

    def close(self) -> None:
        """Nothing to give back: the library keeps its decoders for the whole process."""


def _without_exif(data: Buffer) -> Buffer:
    """The same JPEG with its APP1 segments renamed to APP15, which decoders skip; itself if it has none.

    All of them, since torchcodec takes what it finds there for Exif without looking at the segment's name.
    """
    markers = list(_app1_markers(memoryview(data)))
    if not markers:
        return data
    renamed = bytearray(data)
    for marker in markers:
        renamed[marker] = 0xEF
    return renamed


def _app1_markers(data: memoryview) -> Iterator[int]:
    """Where the second bytes of the APP1 markers before the first scan are."""
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
