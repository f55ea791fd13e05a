"""Hash the weights of a network."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

__all__ = ["weights_hash"]


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256, in hexadecimal, of the names, shapes and float32 values of all weights, in their order.

    It does not depend on the device, nor on the dtype in which a backbone computes at the moment.
    """
    digest = hashlib.sha256()
    weights: dict[str, Tensor] = network.state_dict()
    for name, value in weights.items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        values = value.detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(values.reshape(-1).view("uint8").data)
    return digest.hexdigest()
