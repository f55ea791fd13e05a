"""The interface of decoders that write pixels to the GPU's memory, and their description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from depth_anything_3.inputs.header import Buffer, ImageHeader, JpegProcess

if TYPE_CHECKING:
    import torch

__all__ = ["DecoderTraits", "GPUDecoder", "memory_budget"]

_COMMON_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2)})  # 4:4:4, 4:2:2, 4:2:0, 4:4:0

_MEMORY_SHARE = 16
_NO_GPU = 2**34  # bytes; stands for the memory of a GPU where there is none


def memory_budget(device: torch.device) -> int:
    """Return the bytes that the full-size pixels of one decoder may take: a 16th of the device's memory."""
    from depth_anything_3.runtime.devices import total_memory  # imports torch

    return (total_memory(device) or _NO_GPU) // _MEMORY_SHARE


@dataclass(frozen=True)
class DecoderTraits:
    """Description of a GPU decoder, enough to choose a strategy without loading it.

    Attributes:
        name: for instance "nvimgcodec".
        version: version of its library.
        exact: whether it decodes as libjpeg does (chroma by the triangle filter, similar rounding), as
            `Fidelity.EXACT` requires.
        processes: the JPEG coding processes that it supports.
    """

    name: str
    version: str
    exact: bool
    processes: frozenset[JpegProcess] = frozenset({JpegProcess.BASELINE})

    def unsupported_reason(self, header: ImageHeader) -> str | None:
        """Return why this decoder does not support a file, or None if it does."""
        coding = header.jpeg
        if coding is None:
            return f"{header.format}: GPU decoders support JPEG only"
        if coding.process not in self.processes:
            return f"{coding.process.value} JPEG: {self.name} supports {', '.join(sorted(self.processes))}"
        if coding.bits != 8:
            return f"{coding.bits}-bit JPEG: {self.name} supports 8 bits"
        if coding.components not in (1, 3):
            return f"JPEG with {coding.components} components: {self.name} supports grey and YCbCr"
        if coding.stored_as_rgb:
            return f"JPEG stored as RGB: {self.name} supports grey and YCbCr"
        luma, *chroma = coding.sampling
        if chroma and (luma not in _COMMON_SAMPLINGS or any(one != (1, 1) for one in chroma)):
            return f"JPEG with unusual chroma sampling: {self.name} supports 4:4:4, 4:2:2, 4:2:0 and 4:4:0"
        if not coding.complete:
            return "JPEG without an end marker: the CPU decoder checks whether it is truncated"
        return None


class GPUDecoder(Protocol):
    """Decode JPEG files into a device's memory, one batch per call. Not thread-safe.

    Use one decoder per device; several waste memory. A decoder that fills its memory with the pattern of an
    `OutputGuard` has this as `guard`; then images that it did not write are detected.
    """

    @property
    def traits(self) -> DecoderTraits:
        """The decoder's description."""

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch on the device's current stream without applying the orientation.

        JPEG engines may write before earlier work on the stream is done. So a decoder waits for the work that may
        still read the memory that it writes.

        Args:
            files: complete encoded files for which `traits.unsupported_reason` is None.
            headers: header of each file from `probe`.
            min_hw: minimum stored (height, width) of each result, which a decoder may use to decode at a reduced size;
                None requires full size.

        Returns:
            For each file, an (H, W, 3) uint8 RGB view on the device, unrotated and of any strides, or the reason why it
            was not decoded. The pixels are valid until the next call, for work queued on the same stream before.
        """

    def close(self) -> None:
        """Release the decoder's memory."""
