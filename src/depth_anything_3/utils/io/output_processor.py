"""Convert the network's outputs to predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.plan.resize_plan import Crop
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.attribute_dict import AttributeDict

__all__ = ["OutputProcessor", "SceneInput"]

_SKY_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneInput:
    """Metadata of the N views of a scene that the network does not return; see `Prediction` for the fields.

    Attributes:
        model_depth_kind: kind of depth that the model predicts; a metric model without metric output gives relative
            depth.
        intrinsics: (N, 3, 3) given intrinsics, which replace predicted ones.
        windows: position of each view in (H, W), if views of different sizes were padded; else empty.
    """

    processed_images: npt.NDArray[np.uint8] | None = None
    sources: tuple[str, ...] = ()
    source_hw: tuple[tuple[int, int], ...] = ()
    source_scale: tuple[tuple[float, float], ...] = ()
    source_offset: tuple[tuple[int, int], ...] = ()
    exif: tuple[bytes, ...] = ()
    model_name: str = ""
    model_depth_kind: DepthKind = DepthKind.RELATIVE
    choices: tuple[RoutingDecision, ...] = ()
    failures: tuple[ImageFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    intrinsics: npt.NDArray[np.float32] | None = None
    windows: tuple[Crop, ...] = ()


_UNKNOWN = SceneInput()


class OutputProcessor:
    """Convert the network's tensors to float32 arrays on the CPU, one `Prediction` per scene."""

    def __call__(self, model_output: Mapping[str, Any]) -> Prediction:  # Any: see `scenes`
        """Build the `Prediction` of a batch of one scene, from the network's output alone.

        Args:
            model_output: output of the network for (1, S, 3, H, W); see `scenes`.

        Raises:
            InvalidInputError: it is the output for several scenes.
        """
        count = len(model_output["depth"])
        if count != 1:
            raise InvalidInputError(
                f"the output of {count} scenes; one Prediction holds one scene: use scenes(), which returns a list"
            )
        return self.scenes(model_output)[0]

    def scenes(
        self,
        outputs: Mapping[str, Any],  # Any: tensors and the mappings below
        scenes: Sequence[SceneInput] | None = None,
    ) -> list[Prediction]:
        """Build one `Prediction` for each scene of a batch.

        Args:
            outputs: `depth` (B, S, H, W) and, if the model predicts them, `depth_conf`, `sky`, `extrinsics`
                (B, S, 3, 4), `intrinsics` (B, S, 3, 3), `aux` (name -> (B, S, h, w, C)), `is_metric` (B,),
                `scale_factor` (B,), NaN if unknown, and `gaussians`, which stay on their device, with a first axis of
                1.
            scenes: metadata of each of the B scenes.
        """
        arrays = {name: _to_numpy(value) for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        aux = {name: _to_numpy(value) for name, value in outputs.get("aux", {}).items()}
        gaussians: Gaussians | None = outputs.get("gaussians")
        metadata = scenes or [_UNKNOWN] * len(arrays["depth"])
        return [
            _prediction(
                {name: array[index] for name, array in arrays.items()},
                AttributeDict((name, value[index]) for name, value in aux.items()),
                None if gaussians is None else gaussians.scene(index),
                scene,
            )
            for index, scene in enumerate(metadata)
        ]


def _prediction(
    arrays: Mapping[str, npt.NDArray[np.float32]],
    aux: AttributeDict[npt.NDArray[np.float32]],
    gaussians: Gaussians | None,
    scene: SceneInput,
) -> Prediction:
    sky = arrays["sky"] >= _SKY_THRESHOLD if "sky" in arrays else None
    _mask_padding(scene.windows, arrays["depth"], arrays.get("depth_conf"), sky)
    is_metric = int(arrays["is_metric"]) if "is_metric" in arrays else 0
    reached = is_metric or scene.model_depth_kind is not DepthKind.METRIC
    return Prediction(
        depth=arrays["depth"],
        is_metric=is_metric,
        sky=sky,
        conf=arrays.get("depth_conf"),
        extrinsics=arrays.get("extrinsics"),
        intrinsics=arrays.get("intrinsics") if scene.intrinsics is None else scene.intrinsics,
        processed_images=scene.processed_images,
        gaussians=gaussians,
        aux=aux,
        scale_factor=_finite(arrays["scale_factor"]) if "scale_factor" in arrays else None,
        sources=scene.sources,
        source_hw=scene.source_hw,
        source_scale=scene.source_scale,
        source_offset=scene.source_offset,
        exif=scene.exif,
        depth_kind=scene.model_depth_kind if reached else DepthKind.RELATIVE,
        model_name=scene.model_name,
        choices=scene.choices,
        failures=scene.failures,
        warnings=scene.warnings,
        seconds=scene.seconds,
    )


def _to_numpy(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _finite(value: npt.NDArray[np.float32]) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mask_padding(
    windows: Sequence[Crop],
    depth: npt.NDArray[np.float32],
    conf: npt.NDArray[np.float32] | None,
    sky: npt.NDArray[np.bool_] | None,
) -> None:
    """Set depth to 0, confidence to its minimum and sky to False where a view was padded."""
    for view, window in enumerate(windows):
        outside = np.ones(depth.shape[1:], bool)
        outside[window.top : window.top + window.height, window.left : window.left + window.width] = False
        depth[view, outside] = 0
        if conf is not None:
            conf[view, outside] = 1
        if sky is not None:
            sky[view, outside] = False
