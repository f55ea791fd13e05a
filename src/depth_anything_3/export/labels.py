"""Make the file names of views, and name the unit of depth."""

from __future__ import annotations

from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction

__all__ = ["depth_unit", "view_names"]


def view_names(prediction: Prediction, name: str | None) -> list[str]:
    """Make the file name, without suffix, of each view: its number, or the name of an independent image."""
    count = len(prediction.depth)
    if name is None:
        return [f"{view:04d}" for view in range(count)]
    return [name] if count == 1 else [f"{name}_{view:04d}" for view in range(count)]


def depth_unit(prediction: Prediction) -> str:
    """Name the unit of depth: "metre", "canonical" (of the metric model) or "relative"."""
    if prediction.is_metric:
        return "metre"
    return "canonical" if prediction.depth_kind is DepthKind.CANONICAL else "relative"
