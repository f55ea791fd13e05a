"""Write predictions to files, and read them back.

Importing this package is cheap: numpy and the writers are imported when one of the names below is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from depth_anything_3.export.checks import check_formats
    from depth_anything_3.export.fields import AvailableFields
    from depth_anything_3.export.load import load_prediction
    from depth_anything_3.export.options import ExportOptions
    from depth_anything_3.export.registry import FORMATS, ExportFormat, parse_formats
    from depth_anything_3.export.results import export, result_files

__all__ = [
    "FORMATS",
    "AvailableFields",
    "ExportFormat",
    "ExportOptions",
    "check_formats",
    "export",
    "load_prediction",
    "parse_formats",
    "result_files",
]

_MODULES = {
    "AvailableFields": "fields",
    "ExportFormat": "registry",
    "ExportOptions": "options",
    "FORMATS": "registry",
    "check_formats": "checks",
    "export": "results",
    "load_prediction": "load",
    "parse_formats": "registry",
    "result_files": "results",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    return sorted({*__all__, *(one.name for one in iter_modules(__path__))})
