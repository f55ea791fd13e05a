"""Kept for clients of upstream: `load_config` and `create_object`, for the published models only.

Upstream builds any network that a YAML file describes. Here a configuration names a preset, or describes exactly the
network of one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.model.catalog import MODEL_CARDS, Preset
from depth_anything_3.model.nested import NestedDepthAnything3Net, build_network
from depth_anything_3.model.network import DepthAnything3Net
from depth_anything_3.registry import MODEL_REGISTRY

__all__ = ["create_object", "load_config"]

Config = Mapping[str, Any]  # Any: plain values and mappings

_WIDTHS = {"vits": 384, "vitb": 768, "vitl": 1024, "vitg": 1536}
_HINT = "use load_config(MODEL_REGISTRY[name]) or create_object({'model_name': name}) with one of: "


def load_config(path: str | os.PathLike[str]) -> dict[str, Any]:  # Any: plain values
    """Return the configuration of a published model.

    Args:
        path: a value of `registry.MODEL_REGISTRY`.

    Raises:
        UnsupportedError: it is something else, such as a YAML file.
    """
    name = os.fspath(path)
    if name not in MODEL_REGISTRY:
        raise UnsupportedError(f"{name}: files of configurations are not read; {_hint()}")
    return {"model_name": name}


def create_object(config: Config) -> DepthAnything3Net | NestedDepthAnything3Net:
    """Build the network of a published model, with random weights.

    Args:
        config: the result of `load_config`; the content of a checkpoint's `config.json`; or its entry `config`, if it
            describes an any-view network without Gaussians (da3-small, -base or -large).

    Raises:
        InvalidInputError: it is not a mapping.
        UnsupportedError: it does not describe the network of a published model.
    """
    if not isinstance(config, Mapping):
        raise InvalidInputError(f"config is a {type(config).__name__}; give a mapping, such as load_config returns")
    described = config.get("config")
    name = _named(config) if "model_name" in config else _described(config)
    if "model_name" in config and described and _can_compare(name) and _described(described) != name:
        raise UnsupportedError(f"the configuration of {name} describes the network of {_described(described)}")
    return build_network(name)


def _named(config: Config) -> str:
    name, unknown = config["model_name"], sorted(config.keys() - {"model_name", "config"})
    if name not in MODEL_REGISTRY or unknown:
        what = f"model_name={name!r}" if name not in MODEL_REGISTRY else f"the entries {', '.join(unknown)}"
        raise UnsupportedError(f"{what} of the configuration cannot be used; {_hint()}")
    return str(name)


def _can_compare(name: str) -> bool:
    network = MODEL_CARDS[name].network
    return isinstance(network, Preset) and network.alt_start is not None and not network.gaussian_head


def _described(config: Config) -> str:
    """Find the preset whose description in upstream's terms equals a configuration."""
    plain = _plain(config)
    for name in MODEL_REGISTRY:
        network = MODEL_CARDS[name].network
        if _can_compare(name) and isinstance(network, Preset) and plain == _description(network):
            return name
    raise UnsupportedError(f"the configuration does not describe the network of a published model; {_hint()}")


def _description(preset: Preset) -> Config:
    """Describe an any-view network without Gaussians as the published `config.json` does."""
    start = preset.alt_start
    return {
        "net": {
            "name": next(name for name, width in _WIDTHS.items() if width == preset.width),
            "out_layers": list(preset.out_layers),
            "alt_start": start,
            "qknorm_start": start,
            "rope_start": start,
            "cat_token": True,
        },
        "head": {
            "dim_in": preset.feature_width,
            "output_dim": 2,
            "features": preset.head_features,
            "out_channels": list(preset.head_channels),
        },
        "cam_enc": {"dim_out": preset.width},
        "cam_dec": {"dim_in": preset.feature_width},
    }


def _plain(value: Any) -> Any:  # Any: plain values, or OmegaConf's containers
    """Convert containers to dicts and lists, without `__object__`, which names classes of upstream."""
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in value if key != "__object__"}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def _hint() -> str:
    return _HINT + ", ".join(MODEL_REGISTRY)
