"""The network's output in, a `Prediction` for each scene out: tensors to float32 arrays on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from depth_anything_3.prediction import Prediction

__all__ = ["OutputProcessor"]

_SKY_THRESHOLD = 0.5


class OutputProcessor:
    """Converts what the network returns."""

    def __call__(self, outputs: Mapping[str, Any]) -> list[Prediction]:
        """One `Prediction` for each scene of a batch.

        Args:
            outputs: `depth` (B, S, H, W) and, where the model has them, `depth_conf`, `sky`, `extrinsics` (B, S, 3, 4),
                `intrinsics` (B, S, 3, 3), `aux` (name -> (B, S, h, w, C)), `is_metric`, `scale_factor`.
        """
        arrays = {
            name: value.detach().to("cpu", torch.float32).numpy()
            for name, value in outputs.items()
            if isinstance(value, torch.Tensor) and value.ndim >= 3
        }
        aux = {name: value.detach().to("cpu", torch.float32).numpy() for name, value in outputs.get("aux", {}).items()}
        return [
            Prediction(
                depth=arrays["depth"][scene],
                is_metric=int(outputs.get("is_metric", 0)),
                sky=arrays["sky"][scene] >= _SKY_THRESHOLD if "sky" in arrays else None,
                conf=arrays["depth_conf"][scene] if "depth_conf" in arrays else None,
                extrinsics=arrays["extrinsics"][scene] if "extrinsics" in arrays else None,
                intrinsics=arrays["intrinsics"][scene] if "intrinsics" in arrays else None,
                aux={name: value[scene] for name, value in aux.items()},
                scale_factor=outputs.get("scale_factor"),
            )
            for scene in range(len(arrays["depth"]))
        ]
