"""What every decoder that leaves its pixels on the GPU has in common: what it is, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from depth_anything_3.inputs.header import Buffer, ImageHeader, JpegProcess

if TYPE_CHECKING:
    import torch

__all__ = ["DecoderTraits", "DeviceDecoder"]

_COMMON_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2)})  # 4:4:4, 4:2:2, 4:2:0, 4:4:0


@dataclass(frozen=True)
class DecoderTraits:
    """What a GPU decoder is, so that a strategy can be chosen without it.

    Attributes:
        name: for instance "nvimgcodec".
        version: of its library.
        exact: whether it reconstructs chroma as libjpeg does (triangle filter), so that `Fidelity.EXACT` may use it.
        processes: kinds of JPEG coding it is given.
    """

    name: str
    version: str
    exact: bool
    processes: frozenset[JpegProcess] = frozenset({JpegProcess.BASELINE})

    def unsupported_reason(self, header: ImageHeader) -> str | None:
        """Why a file is not given to this decoder, or None if it is."""
        coding = header.jpeg
        if coding is None:
            return f"{header.format}: GPU decoders take JPEG"
        if coding.process not in self.processes:
            return f"{coding.process.value} JPEG: {self.name} takes {', '.join(sorted(self.processes))}"
        if coding.bits != 8:
            return f"{coding.bits}-bit JPEG: {self.name} takes 8 bits"
        if coding.components not in (1, 3):
            return f"JPEG with {coding.components} components: {self.name} takes grey and YCbCr"
        if coding.stored_as_rgb:
            return f"JPEG stored as RGB: {self.name} takes grey and YCbCr"
        luma, *chroma = coding.sampling
        if chroma and (luma not in _COMMON_SAMPLINGS or any(one != (1, 1) for one in chroma)):
            return f"JPEG with unusual chroma sampling: {self.name} takes 4:4:4, 4:2:2, 4:2:0 and 4:4:0"
        if not coding.complete:
            return "JPEG without an end marker: the CPU decoder tells whether it is whole"
        return None


class DeviceDecoder(Protocol):
    """Decodes JPEG files into a device's memory, a batch in one call. Not for two threads at once.

    One decoder for each device is enough, and several waste memory.
    """

    @property
    def traits(self) -> DecoderTraits:
        """What it is."""

    def decode(
        self, files: Sequence[Buffer], headers: Sequence[ImageHeader], min_hw: Sequence[tuple[int, int] | None]
    ) -> list[torch.Tensor | str]:
        """Decode a batch on the device's current stream, leaving orientation alone.

        Args:
            files: whole encoded files that `traits.unsupported_reason` lets through.
            headers: what `probe` said of each.
            min_hw: where a smaller picture does, the least (height, width), as stored, that it may have; a decoder
                that can save work that way may. None: full size.

        Returns:
            For each file an (H, W, 3) uint8 RGB view on the device, as stored and with any strides, or why there is
            none. The pixels stay as they are until the next call.
        """

    def close(self) -> None:
        """Give its memory back."""
