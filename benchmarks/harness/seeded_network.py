"""Make networks and checkpoints with seeded random weights, and inputs for them."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from depth_anything_3.api import DepthAnything3
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net, build_network

__all__ = ["Network", "autocast", "network_inputs", "seed_weights", "seeded_network", "write_seeded_checkpoint"]

Network = DepthAnything3Net | NestedDepthAnything3Net

_SEED = 20


def seed_weights(module: nn.Module) -> nn.Module:
    """Set random weights with which every layer affects the result; the same on every machine."""
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma"):
                noise.mul_(0.05).add_(0.3)
            elif name.endswith("bias"):
                noise.mul_(0.02)
            elif name.endswith("weight") and parameter.ndim == 1:
                noise.mul_(0.1).add_(1)
            else:
                noise.div_(math.sqrt(max(1, math.prod(parameter.shape[1:]))))
            parameter.copy_(noise)
    return module.eval().requires_grad_(False)


def seeded_network(preset: str) -> Network:
    """Make the network of a preset on the CPU."""
    with torch.device("meta"):
        net = build_network(preset)
    net.to_empty(device="cpu")
    seed_weights(net)
    return net


def write_seeded_checkpoint(preset: str, folder: Path) -> Path:
    """Write a checkpoint in the official format with the weights of `seeded_network`; return the folder."""
    model = DepthAnything3(preset)
    seed_weights(model)
    model.save_pretrained(folder)
    return folder


def network_inputs(views: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Make normalised images `(1, views, 3, H, W)`."""
    height, width = size_hw
    pixels = torch.stack([torch.from_numpy(photo(width, height, seed).copy()) for seed in range(views)])
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()[None].to(device)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast the backbone to low precision; do nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
