"""A device's name in, the device out, if it can be used."""

from __future__ import annotations

import torch

from depth_anything_3.errors import InvalidInputError

__all__ = ["choose_device"]


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; for None or "auto" the best there is: CUDA, then Apple's GPU, then the CPU.

    Raises:
        InvalidInputError: there is no such device.
    """
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]  # the first sentence; torch goes on with its internals
        raise InvalidInputError(f"device {str(device)!r} cannot be used ({reason}); try 'auto' or 'cpu'") from None
    return chosen
