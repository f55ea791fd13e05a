"""The network's output in, a `Prediction` for each scene out: tensors to float32 arrays on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.inputs.plan.resize_plan import Crop
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction import Prediction

__all__ = ["OutputProcessor", "mask_padding"]

_SKY_THRESHOLD = 0.5


class OutputProcessor:
    """Converts what the network returns."""

    def __call__(self, outputs: Mapping[str, Any]) -> list[Prediction]:  # Any: tensors, and what is named below
        """One `Prediction` for each scene of a batch.

        Args:
            outputs: `depth` (B, S, H, W) and, where the model has them, `depth_conf`, `sky`, `extrinsics` (B, S, 3, 4),
                `intrinsics` (B, S, 3, 3), `aux` (name -> (B, S, h, w, C)), `is_metric` (B,), `scale_factor` (B,), NaN
                where there is none, and `gaussians`, which stay where they are, with a first axis of 1.
        """
        arrays = {name: _to_numpy(value) for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        aux = {name: _to_numpy(value) for name, value in outputs.get("aux", {}).items()}
        gaussians: Gaussians | None = outputs.get("gaussians")
        return [
            Prediction(
                depth=arrays["depth"][scene],
                is_metric=int(arrays["is_metric"][scene]) if "is_metric" in arrays else 0,
                sky=arrays["sky"][scene] >= _SKY_THRESHOLD if "sky" in arrays else None,
                conf=arrays["depth_conf"][scene] if "depth_conf" in arrays else None,
                extrinsics=arrays["extrinsics"][scene] if "extrinsics" in arrays else None,
                intrinsics=arrays["intrinsics"][scene] if "intrinsics" in arrays else None,
                gaussians=None if gaussians is None else gaussians.scene(scene),
                aux={name: value[scene] for name, value in aux.items()},
                scale_factor=_finite(arrays["scale_factor"][scene]) if "scale_factor" in arrays else None,
            )
            for scene in range(len(arrays["depth"]))
        ]


def _to_numpy(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _finite(value: np.float32) -> float | None:
    return float(value) if np.isfinite(value) else None


def mask_padding(prediction: Prediction, windows: Sequence[Crop]) -> None:
    """No depth where a view was padded: there is nothing to see there."""
    for view, window in enumerate(windows):
        outside = np.ones(prediction.depth.shape[1:], bool)
        outside[window.top : window.top + window.height, window.left : window.left + window.width] = False
        prediction.depth[view, outside] = 0
        if prediction.conf is not None:
            prediction.conf[view, outside] = 1  # the least there is
        if prediction.sky is not None:
            prediction.sky[view, outside] = False
