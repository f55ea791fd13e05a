"""Load networks with random weights, or a stand-in that only waits."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import torch
from torch import nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.model import DepthAnything3Net

__all__ = ["StandIn", "load_model", "stand_in_of"]


class StandIn(nn.Module):
    """A network that takes a given time without using the CPU, like one on a GPU.

    Args:
        seconds: per image.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = seconds

    def check_options(self, **options: object) -> None:
        """Accept all options of a network."""

    def forward(self, x: torch.Tensor, **options: object) -> dict[str, torch.Tensor]:
        """Wait; return a depth of ones for (B, S, 3, H, W)."""
        time.sleep(self.seconds * x.shape[0] * x.shape[1])
        # By numpy: torch would fill it with all cores, which a network on a GPU leaves to the workers.
        return {"depth": torch.from_numpy(np.ones((*x.shape[:2], *x.shape[3:]), np.float32))}


def load_model(network: str, device: torch.device, dtype: str | None = None) -> DepthAnything3:
    """Load a preset with random weights, or a stand-in: "instant", or milliseconds per image such as "8ms"."""
    preset = network if network.startswith("da3") else "da3-small"
    model = DepthAnything3(preset)
    if preset != network:
        stand_in = StandIn(0.0 if network == "instant" else 1e-3 * float(network.removesuffix("ms")))
        model.model = cast("DepthAnything3Net", stand_in)  # it has what a model calls
    model.engine.compute_dtype = getattr(torch, dtype) if dtype else None
    return model.to(device).eval().requires_grad_(False)


def stand_in_of(model: DepthAnything3) -> StandIn | None:
    """Return the stand-in of a model; None if it has a network."""
    network: object = model.model
    return network if isinstance(network, StandIn) else None
