"""A GPU decoder played by the CPU, for tests of a machine with a GPU."""

from __future__ import annotations

import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.routing.strategy import Capabilities


class StandInDecoder:
    """Decodes as the CPU does.

    Args:
        name: "picky" refuses every image; "wrong" swaps colours; "failing" raises an out-of-memory error.
    """

    def __init__(self, name: str) -> None:
        self.traits = DecoderTraits(name, "1.0", exact=True)
        self.closed = False
        self.batches: list[int] = []

    def decode(self, files, headers, min_hw):
        self.batches.append(len(files))
        if self.traits.name == "picky":
            return ["not this one"] * len(files)
        if self.traits.name == "failing":
            raise RuntimeError("out of memory\nand more of it")
        images = [torch.from_numpy(decode(*pair, "file").pixels) for pair in zip(files, headers, strict=True)]
        return [image.flip(-1) for image in images] if self.traits.name == "wrong" else images

    def close(self) -> None:
        self.closed = True


class Opener:
    """Opens stand-ins, and keeps them to be looked at; "broken" cannot be opened."""

    def __init__(self) -> None:
        self.opened: list[StandInDecoder] = []

    def __call__(self, name: str, device: torch.device) -> StandInDecoder:
        assert device == torch.device("cpu")
        if name == "broken":
            raise UnsupportedError("broken does not run here")
        self.opened.append(StandInDecoder(name))
        return self.opened[-1]


def gpu_with(*names: str, cores: int = 1, coarse: str = "") -> Capabilities:
    """A machine with these decoders, of which one may have coarse chroma."""
    decoders = tuple(DecoderTraits(name, "1.0", exact=name != coarse) for name in names)
    return Capabilities("cuda", "stand-in", decoders, jpeg_engines=1, resamplers=("torch",), cores=cores)
