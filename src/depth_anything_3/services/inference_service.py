"""Kept for clients of upstream: `InferenceService` and `run_inference`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.choices import ProcessResMethod, ProcessResMethodName
from depth_anything_3.model.choices import RefViewStrategy, RefViewStrategyName
from depth_anything_3.prediction import Prediction

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["InferenceService", "ServiceKwargs", "run_inference"]


class ServiceKwargs(TypedDict, total=False):
    """Options that are passed to `DepthAnything3.inference`; see there."""

    process_res: int
    process_res_method: ProcessResMethod | ProcessResMethodName
    export_feat_layers: Sequence[int] | None
    extrinsics: Any  # Any: array-like
    intrinsics: Any
    align_to_input_ext_scale: bool
    use_ray_pose: bool
    ref_view_strategy: RefViewStrategy | RefViewStrategyName
    conf_thresh_percentile: float
    num_max_points: int | None
    show_cameras: bool
    feat_vis_fps: int


class InferenceService:
    """Loads a model once, and computes scenes.

    Args:
        model_dir: hub id or folder, see `DepthAnything3.from_pretrained`.
        device: device of the network.
    """

    def __init__(self, model_dir: str | os.PathLike[str], device: str | torch.device = "cuda") -> None:
        self.model_dir = model_dir
        self.device = device
        self.model: DepthAnything3 | None = None

    def load_model(self) -> DepthAnything3:
        """Return the model, which the first call loads.

        Raises:
            CheckpointError: it cannot be loaded.
            InvalidInputError: the device does not exist.
        """
        if self.model is None:
            self.model = DepthAnything3.from_pretrained(self.model_dir, device=self.device)
        return self.model

    def run_local_inference(
        self,
        image_paths: Sequence[str | os.PathLike[str]],
        export_dir: str | os.PathLike[str] | None,
        export_format: str = "glb",
        **options: Unpack[ServiceKwargs],
    ) -> Prediction:
        """Compute the views of one scene; with a Gaussian format, also Gaussians.

        Args:
            image_paths: the views.
            export_dir: folder to write results to; None writes nothing.
            export_format: names joined with '-'.
            options: see `DepthAnything3.inference`.

        Raises:
            DA3Error: see `DepthAnything3.inference`.
        """
        model, infer_gs = self.load_model(), "gs" in export_format
        if export_dir is None:  # with a format, `inference` would refuse to write nothing
            return model.inference(image_paths, infer_gs=infer_gs, **options)
        return model.inference(
            image_paths, export_dir=export_dir, export_format=export_format, infer_gs=infer_gs, **options
        )


def run_inference(
    image_paths: Sequence[str | os.PathLike[str]],
    export_dir: str | os.PathLike[str] | None,
    model_dir: str | os.PathLike[str],
    device: str | torch.device = "cuda",
    backend_url: str | None = None,
    export_format: str = "glb",
    **options: Unpack[ServiceKwargs],
) -> Prediction:
    """Load a model and compute the views of one scene; see `InferenceService`.

    Raises:
        UnsupportedError: `backend_url` is given.
        DA3Error: see `DepthAnything3.inference`.
    """
    if backend_url is not None:
        raise UnsupportedError(f"backend_url={backend_url!r} is not supported; leave it out to compute in this process")
    service = InferenceService(model_dir, device)
    return service.run_local_inference(image_paths, export_dir, export_format, **options)
