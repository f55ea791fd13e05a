"""Describe a prediction in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from depth_anything_3.prediction.prediction import Prediction

__all__ = ["depth_statistics", "describe"]

_MAX_NAMES, _MAX_CHARACTERS = 3, 300
_FIELDS = ("sky", "conf", "extrinsics", "intrinsics", "processed_images", "gaussians", "aux")


def describe(prediction: Prediction) -> str:
    """Describe a prediction in at most ten lines: shapes, range and unit of the depth, model, sources; no pixels."""
    unit = "metres" if prediction.is_metric else str(prediction.depth_kind.value)
    head = "Prediction" + (f" by {prediction.model_name}" if prediction.model_name else "")
    if prediction.sources:
        head += f" of {_listed(prediction.sources)}"
    lines = [
        head,
        f"depth: {_shape(prediction.depth)}, {unit}; {depth_statistics(prediction.depth)}",
        *_shapes(prediction),
    ]
    if prediction.source_hw:
        lines.append(f"source (height, width): {_listed(list(dict.fromkeys(prediction.source_hw)))}")
    if prediction.choices:
        lines.append(f"strategy: {_listed(list(dict.fromkeys(one.strategy.value for one in prediction.choices)))}")
    if prediction.seconds:
        lines.append("seconds: " + ", ".join(f"{name} {value:.3f}" for name, value in prediction.seconds.items()))
    if prediction.failures:
        lines.append(f"failures: {_listed([str(one.error) for one in prediction.failures])}")
    if prediction.warnings:
        lines.append(f"warnings: {_listed(prediction.warnings)}")
    return "\n  ".join(_cut(" ".join(line.split())) for line in lines)


def depth_statistics(depth: npt.NDArray[np.floating]) -> str:
    """Describe depth by its minimum, median and maximum, and the share that is invalid."""
    valid = depth[np.isfinite(depth) & (depth > 0)]
    if not valid.size:
        return "no valid depth"
    numbers = f"min {valid.min():.4g}, median {np.median(valid):.4g}, max {valid.max():.4g}"
    return numbers + ("" if valid.size == depth.size else f", {1 - valid.size / depth.size:.1%} invalid")


def _shapes(prediction: Prediction) -> list[str]:
    """Describe the other arrays, in one line."""
    found = {name: getattr(prediction, name) for name in _FIELDS}
    words = [f"{name} {_shape(value)}" for name, value in found.items() if not _is_absent(value)]
    return ["; ".join(words)] if words else []


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, Mapping) and not value)


def _shape(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shape(one)}" for key, one in value.items()) + "}"
    shape = getattr(value, "shape", None)  # of an array, or of a tensor
    return type(value).__name__ if shape is None else f"{getattr(value, 'dtype', '')}{list(shape)}"


def _listed(values: Sequence[object]) -> str:
    shown = list(map(str, values))
    more = len(shown) - _MAX_NAMES
    return ", ".join(shown[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 3]}..."
