"""What a way from pictures to the network's tensor is, and where and how all of them run. The ways are in `ways.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu import nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.runtime.devices import default_dtype

__all__ = [
    "DECODERS",
    "FILES",
    "MEMORY",
    "OURS",
    "PEERS",
    "REFERENCE",
    "USUAL",
    "Picture",
    "Setting",
    "Way",
    "decoder_refusal",
]

FILES, MEMORY = "files", "memory"
REFERENCE = "CPU reference"
USUAL, OURS, PEERS = "usual", "ours", "peer"

DECODERS: dict[str, Callable[[str], DecoderTraits]] = {
    nvimgcodec.NAME: nvimgcodec.find,
    torchcodec.NAME: torchcodec.find,
    torchvision.NAME: torchvision.find,
}
"""The GPU decoders by name; asked whether they are installed for a kind of device ("cuda")."""
Picture = bytes | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """Where and how all ways run.

    Attributes:
        device: the network's.
        dtype: of the normalised tensor.
        workers: CPU threads of each way.
        capabilities: of the machine.
    """

    device: torch.device
    dtype: torch.dtype
    workers: int
    capabilities: Capabilities

    @classmethod
    def of(cls, device: torch.device, workers: int, *, rehearse: bool = False) -> Setting:
        """The network's default dtype on that device, and what the machine has.

        With `rehearse` the CPU plays the GPU: its ways run, with the decoders' CPU devices, to try the code.
        """
        capabilities = find_capabilities(device)
        if rehearse:
            installed = tuple(traits for name in DECODERS if (traits := _traits(name, device)))
            capabilities = replace(capabilities, device_type="cuda", decoders=installed, jpeg_engines=1)
        return cls(device, default_dtype(device), workers, capabilities)

    @property
    def has_gpu(self) -> bool:
        """Whether there is one, or the CPU plays it."""
        return self.capabilities.device_type != "cpu"


class Way(ABC):
    """One way; called with a batch it gives the tensor, perhaps before the device is done.

    Attributes:
        name: for tables.
        group: "usual", "ours" or "peer".
        starts: what it can start from, `FILES` and `MEMORY`.
        needs: "gpu", packages and decoders without which it cannot run.
        complete: whether it ends in the network's tensor; a floor, below which none can be, does not.
        took: what the pictures of the last call went through, where the way chooses.
        library_bytes: GPU memory that its libraries took of the driver, filled in by who measures.
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
    def __call__(self, pictures: Sequence[Picture]) -> torch.Tensor:
        """A batch."""

    @abstractmethod
    def close(self) -> None:
        """End threads and give memory back."""


def _traits(name: str, device: torch.device) -> DecoderTraits | None:
    return None if decoder_refusal(name, device) else DECODERS[name](device.type)


def decoder_refusal(name: str, device: torch.device) -> str | None:
    """Why a decoder cannot be used with that device, as far as can be told without loading it, or None."""
    try:
        DECODERS[name](device.type)
    except UnsupportedError as error:
        return str(error)
    return None
