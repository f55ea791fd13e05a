"""The Depth Anything 3 networks. Importing this package is cheap: torch is imported when a network is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from depth_anything_3.model.catalog import Preset
    from depth_anything_3.model.choices import RefViewStrategy
    from depth_anything_3.model.nested import NestedDepthAnything3Net, build_network
    from depth_anything_3.model.network import DepthAnything3Net

__all__ = [
    "DepthAnything3Net",
    "NestedDepthAnything3Net",
    "Preset",
    "RefViewStrategy",
    "build_network",
]

_MODULES = {
    "DepthAnything3Net": "network",
    "NestedDepthAnything3Net": "nested",
    "Preset": "catalog",
    "RefViewStrategy": "choices",
    "build_network": "nested",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    return sorted({*__all__, *(one.name for one in iter_modules(__path__))})
