"""Name views, their files, and the unit of depth."""

from __future__ import annotations

import os
from collections.abc import Sequence

from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction

__all__ = ["depth_unit", "source_names", "view_names"]


def view_names(prediction: Prediction, name: str | None) -> list[str]:
    """Make the file name, without suffix, of each view: its number, or the name of an independent image."""
    count = len(prediction.depth)
    if name is None:
        return [f"{view:04d}" for view in range(count)]
    return [name] if count == 1 else [f"{name}_{view:04d}" for view in range(count)]


def source_names(sources: Sequence[str]) -> list[str]:
    """Name the source of each view: its path relative to the folder that holds all of them."""
    try:
        common = os.path.commonpath([os.path.dirname(one) for one in sources])
    except ValueError:  # on several drives, or absolute and relative paths
        return list(sources)
    return [os.path.relpath(one, common) if common else one for one in sources]


def depth_unit(prediction: Prediction) -> str:
    """Name the unit of depth: "metre", "canonical" (of the metric model) or "relative"."""
    if prediction.is_metric:
        return "metre"
    return "canonical" if prediction.depth_kind is DepthKind.CANONICAL else "relative"
