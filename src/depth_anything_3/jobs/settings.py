"""Collect the settings that results depend on, for the manifest of an export folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, fields
from enum import Enum

import numpy as np
import torch

from depth_anything_3.export.format_options import ColorOptions
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.export.registry import ExportFormat
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inference.views import GivenCameras
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import FrameSelection
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.manifest import Settings
from depth_anything_3.prediction.metric import MetricConversion

__all__ = [
    "camera_settings",
    "color_settings",
    "destination_settings",
    "metric_settings",
    "network_settings",
    "selection_settings",
    "writer_settings",
]

_DIGITS = 16


def network_settings(engine: Engine, preprocess: PreprocessOptions, network: NetworkOptions) -> Settings:
    """Return the model, its weights, what computes it, and the options of preprocessing and network."""
    computes = engine.backend.name_for(network)
    return {
        "model": engine.card.name,
        "weights": engine.backend.weights_digest(),
        "dtype": str(engine.dtype).removeprefix("torch."),
        **({} if computes == "torch" else {"backend": computes}),
        **engine.resolved(preprocess).result_settings(),
        **{name: _plain(value) for name, value in network.forward().items()},
    }


def destination_settings(destination: Destination) -> Settings:
    """Return the formats, their options, and the conversion to metric depth."""
    return {
        "export_format": "-".join(one.name for one in destination.parsed_formats),
        **writer_settings(destination.parsed_formats, destination.options),
        **metric_settings(destination.metric),
    }


def writer_settings(formats: Iterable[ExportFormat], options: ExportOptions | None) -> Settings:
    """Return the options of the writers of these formats."""
    given = options or ExportOptions()
    settings: dict[str, str | int | float | bool | None] = {}
    for one in formats:
        chosen = given.of(one)
        for option in fields(chosen):
            parameter = option.metadata.get("parameter", option.name)
            # Not given there: each format may have its own, from `export_kwargs`.
            name = f"{one.name}.{option.name}" if getattr(given, parameter, None) is None else parameter
            settings[name] = _plain(getattr(chosen, option.name))
    return settings


def color_settings(colors: ColorOptions) -> Settings:
    """Return the colours of a video, which has one range anyway."""
    return {"colormap": _plain(colors.colormap), "depth_range": _plain(colors.depth_range)}


def metric_settings(metric: MetricConversion | None) -> Settings:
    """Return the conversion to metric depth."""
    return {"metric": metric is not None, **(asdict(metric) if metric else {})}


def camera_settings(cameras: GivenCameras) -> Settings:
    """Return the given cameras of views; a digest stands for the matrices."""
    return {
        "extrinsics": _plain(cameras.extrinsics),
        "intrinsics": _plain(cameras.intrinsics),
        "align_to_input_ext_scale": cameras.align_depth,
    }


def selection_settings(selection: FrameSelection) -> Settings:
    """Return the selection of frames."""
    return {name: _plain(value) for name, value in selection.kwargs().items() if name != "after"}


def _plain(value: object) -> str | int | float | bool | None:
    """Convert a value to one that JSON holds; arrays to a digest."""
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return f"{'x'.join(map(str, value.shape))}:{_digest(np.asarray(value, np.float64).tobytes())}"
    if isinstance(value, (tuple, list)) and all(isinstance(one, (int, float)) for one in value):
        return ",".join(map(str, value))
    return _digest(repr(value).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
