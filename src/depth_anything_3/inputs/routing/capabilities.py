"""Query drivers and libraries for what the input pipeline can use on a device."""

from __future__ import annotations

import platform
from dataclasses import replace

import torch

from depth_anything_3.inputs.decode.gpu.jpeg_engine import jpeg_engines, missing_engine
from depth_anything_3.inputs.decode.gpu.registry import find_decoders
from depth_anything_3.inputs.resample.gpu import available_resamplers
from depth_anything_3.inputs.routing.cost_store import load_costs
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["find_capabilities"]


def find_capabilities(device: torch.device) -> Capabilities:
    """Find the decoders, resamplers and cores for a device, and the costs stored by `da3 doctor --calibrate`."""
    found = find_decoders(device.type)
    name, engines = _name(device), _engines(device)
    capabilities = Capabilities(
        device_type=device.type,
        device_name=name,
        decoders=found.decoders,
        jpeg_engines=engines,
        missing_engine=missing_engine(engines, name) if device.type == "cuda" and not torch.version.hip else None,
        resamplers=available_resamplers(device),
        cores=usable_cores(),
        missing=found.missing,
    )
    return replace(capabilities, costs=load_costs(capabilities))


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _engines(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    with torch.cuda.device(device):
        return jpeg_engines(torch.cuda.current_device())
