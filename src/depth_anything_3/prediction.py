"""`Prediction`: what inference returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.utils.io.failure import ImageFailure
from depth_anything_3.utils.io.strategy import Choice

__all__ = ["Prediction"]

FloatArray = npt.NDArray[np.floating]


@dataclass(repr=False, eq=False)
class Prediction:
    """Depth and cameras of the N views of one scene; N is 1 for an independent image.

    Sizes are those of the network's input (H, W), not of the source pictures. Absent results are None. The fields down
    to `scale_factor` are upstream's.

    Attributes:
        depth: (N, H, W) float32, distance along the optical axis. In metres if `is_metric`, in the unit of the given
            extrinsics if it was aligned to them, otherwise in a unit of its own for each scene.
        is_metric: 1 if depth is in metres, else 0.
        sky: (N, H, W) bool.
        conf: (N, H, W) float32, above 1; larger is surer. Comparable within a scene only.
        extrinsics: (N, 3, 4) float32 world-to-camera, OpenCV axes (x right, y down, z forward); (N, 4, 4) where the
            given ones were moved into the predicted frame.
        intrinsics: (N, 3, 3) float32 in pixels of (H, W).
        processed_images: (N, H, W, 3) uint8 RGB, what the network saw.
        gaussians: 3D Gaussians, for models that predict them.
        aux: `feat_layer_i` -> (N, H / 14, W / 14, C) float32, for the layers asked for.
        scale_factor: what a nested model multiplied its depth by to reach metres.
        sources: name of each view: its path, or its place and kind.
        source_hw: (height, width) of each view's upright source picture.
        choices: the way each view took to the network's memory, and why.
        failures: inputs that were left out of this scene.
        seconds: time spent by stage: decode and resample (on the CPU, summed over workers; decoding on a GPU until the
            call returned), network.
    """

    depth: npt.NDArray[np.float32]
    is_metric: int = 0
    sky: npt.NDArray[np.bool_] | None = None
    conf: npt.NDArray[np.float32] | None = None
    extrinsics: FloatArray | None = None
    intrinsics: FloatArray | None = None
    processed_images: npt.NDArray[np.uint8] | None = None
    gaussians: Any = None  # Any: tensors of the Gaussian head, see the model
    aux: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    scale_factor: float | None = None
    sources: tuple[str, ...] = ()
    source_hw: tuple[tuple[int, int], ...] = ()
    choices: tuple[Choice, ...] = ()
    failures: tuple[ImageFailure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        shown = (f"{name}={_shape_or_value(value)}" for name, value in values.items() if not _is_absent(value))
        return f"Prediction({', '.join(shown)})"


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, (tuple, Mapping)) and not value)


def _shape_or_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shape_or_value(one)}" for key, one in value.items()) + "}"
    shape = getattr(value, "shape", None)  # of an array, or of a tensor
    return repr(value) if shape is None else f"{getattr(value, 'dtype', '')}{list(shape)}"
