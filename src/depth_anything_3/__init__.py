"""Depth Anything 3 with an exact and fast input pipeline.

    from depth_anything_3 import DepthAnything3

    model = DepthAnything3.from_pretrained("depth-anything/DA3-BASE")
    prediction = model.inference(["left.jpg", "right.jpg"])

Importing this package is cheap: torch is imported when one of the names below is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from depth_anything_3.runtime.version import __version__

if TYPE_CHECKING:
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.errors import DA3Error
    from depth_anything_3.inputs.choices import Fidelity, Strategy
    from depth_anything_3.prediction import Prediction
    from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
    from depth_anything_3.utils.io.input_processor import InputProcessor

__all__ = [
    "DA3Error",
    "DepthAnything3",
    "Fidelity",
    "GPUInputProcessor",
    "InputProcessor",
    "Prediction",
    "Strategy",
    "__version__",
]

_MODULES = {
    "DA3Error": "errors",
    "DepthAnything3": "api",
    "Fidelity": "inputs.choices",
    "GPUInputProcessor": "utils.io.gpu_input_processor",
    "InputProcessor": "utils.io.input_processor",
    "Prediction": "prediction",
    "Strategy": "inputs.choices",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    folders = (one.name for one in iter_modules(__path__) if not one.name.startswith("_"))
    return sorted({*__all__, *folders})
