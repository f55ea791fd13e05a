"""Define the interface of the preprocessing methods that the benchmarks compare, and their common setting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.registry import DECODER_FINDERS
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.runtime.devices import default_dtype

__all__ = [
    "FILES",
    "MEMORY",
    "OURS",
    "PEERS",
    "REFERENCE",
    "USUAL",
    "FoundDecoders",
    "Image",
    "Method",
    "Setting",
    "declared_fidelity",
    "find_cuda_decoders",
]

FILES, MEMORY = "files", "memory"
REFERENCE = "CPU reference"
USUAL, OURS, PEERS = "usual", "ours", "peer"

Image = bytes | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FoundDecoders:
    """GPU decoders for CUDA by name: traits of the installed ones, and why each of the others is missing."""

    installed: dict[str, DecoderTraits]
    missing: dict[str, str]


def find_cuda_decoders(device: torch.device) -> FoundDecoders:
    """Look for every decoder that the package can use on CUDA, without loading any.

    In a rehearsal the device is the CPU, which those decoders have as well.
    """
    found = FoundDecoders({}, {})
    for name, find in DECODER_FINDERS["cuda"].items():
        try:
            found.installed[name] = find(device.type)
        except UnsupportedError as error:
            found.missing[name] = str(error)
    return found


def declared_fidelity(traits: DecoderTraits) -> Fidelity:
    """Choose the fidelity that admits a decoder: decoders with nearest-neighbour chroma need a lower one."""
    return Fidelity.EXACT if traits.exact else Fidelity.FAST


@dataclass(frozen=True)
class Setting:
    """Device and options that all methods share.

    Attributes:
        device: the network's.
        dtype: of the normalised tensor.
        workers: CPU threads of each method.
        capabilities: of the machine.
    """

    device: torch.device
    dtype: torch.dtype
    workers: int
    capabilities: Capabilities

    @classmethod
    def of(cls, device: torch.device, workers: int, *, rehearse: bool = False) -> Setting:
        """Make the setting with the network's default dtype on that device, and the machine's capabilities.

        With `rehearse` the CPU stands in for the GPU: the GPU's methods run, with the decoders' CPU devices, to try
        the code.
        """
        capabilities = find_capabilities(device)
        if rehearse:
            installed = tuple(find_cuda_decoders(device).installed.values())
            capabilities = replace(capabilities, device_type="cuda", decoders=installed, jpeg_engines=1)
        return cls(device, default_dtype(device), workers, capabilities)

    @property
    def has_gpu(self) -> bool:
        """Whether there is a GPU, or the CPU stands in for one."""
        return self.capabilities.device_type != "cpu"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"to {dtype} at 504 pixels on {self.device.type}; {self.workers} workers"

    def only(self, decoder: DecoderTraits) -> Setting:
        """Return the setting with only this decoder, whatever its measured costs."""
        return replace(self, capabilities=replace(self.capabilities, decoders=(decoder,), costs=None))


class Method(ABC):
    """A method; called with a batch it returns the tensor, possibly before the device has finished.

    Attributes:
        name: for tables.
        group: "usual", "ours" or "peer".
        starts: what it can start from, `FILES` and `MEMORY`.
        needs: "gpu", packages and decoders without which it cannot run.
        complete: whether it ends in the network's tensor; a floor, below which none can be, does not.
        took: decoder or strategy of the images of the last call, where the method chooses.
        library_bytes: GPU memory that its libraries took from the driver, filled in by the measurement.
    """

    name: str
    group: str = USUAL
    starts: tuple[str, ...] = (FILES, MEMORY)
    needs: tuple[str, ...] = ()
    complete: bool = True
    took: str = ""
    library_bytes: int = 0

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """Prepare a batch."""

    @abstractmethod
    def close(self) -> None:
        """Stop threads and release memory."""
