"""Compute depth and cameras of the views of one scene."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.given_images import ImagesInput, expand_images
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.input_size import check_one_size
from depth_anything_3.prediction.pose_alignment import align_poses, normalize_extrinsics

__all__ = ["GivenCameras", "ViewOptions", "check_cameras", "infer_views"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GivenCameras:
    """Cameras given by the caller.

    Attributes:
        extrinsics: (N, 4, 4) world-to-camera poses (OpenCV axes) to condition on; require `intrinsics`.
        intrinsics: (N, 3, 3) in pixels of the upright source images. Without poses, a model that predicts cameras
            ignores them.
        align_depth: True returns the given poses, and depth in their unit; False returns them transformed into the
            predicted frame, and depth as predicted.
    """

    extrinsics: Any = None  # Any: array-like
    intrinsics: Any = None
    align_depth: bool = True


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Options of the preprocessing, the network, and the size of results for the views of a scene."""

    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    output: OutputOptions = field(default_factory=OutputOptions)


def check_cameras(engine: Engine, cameras: GivenCameras) -> None:
    """Check that the given cameras are complete for the model; warn of intrinsics that it ignores.

    Raises:
        InvalidInputError: poses without intrinsics.
    """
    if cameras.extrinsics is not None and cameras.intrinsics is None:
        raise InvalidInputError("extrinsics need intrinsics; pass both")
    if cameras.intrinsics is not None and _used_intrinsics(engine, cameras) is None:
        logger.warning(
            "intrinsics without extrinsics are ignored: %s predicts cameras; pass both to condition it on them",
            engine.card.name,
        )


def _used_intrinsics(engine: Engine, cameras: GivenCameras) -> Any:  # Any: array-like
    """Return the given intrinsics; None for a model that predicts cameras, unless poses are given too."""
    return None if cameras.extrinsics is None and engine.card.has_poses else cameras.intrinsics


def infer_views(engine: Engine, images: ImagesInput, options: ViewOptions, cameras: GivenCameras) -> Prediction:
    """Compute depth and cameras of the views of ONE scene: every view attends to all others.

    Args:
        engine: the network.
        images: the views.
        options: options of the preprocessing and the network.
        cameras: given cameras.

    Raises:
        InvalidInputError, ImageReadError, ImageDecodeError: see `DepthAnything3.inference`.
        UnsupportedError: an exported network takes another number of views.
        ShapeMismatchError: results are wanted at the size of the images, and that differs.
    """
    engine.check_output(options.output)
    inputs, intrinsics = list(expand_images(images).images), _used_intrinsics(engine, cameras)
    engine.backend.check_views(len(inputs))
    batch = engine.input_processor.views(inputs, engine.resolved(options.preprocess), cameras.extrinsics, intrinsics)
    if options.output.at_input_size:
        check_one_size([one.label for one in batch.images], [one.plan.source_hw for one in batch.images])
    prediction = _infer(engine, batch, options, cameras)
    return options.output.apply(prediction, [inputs[one.index] for one in batch.images], options.preprocess)


def _infer(engine: Engine, batch: ProcessedBatch, options: ViewOptions, cameras: GivenCameras) -> Prediction:
    if cameras.extrinsics is None:
        return engine.views(batch, options.network)
    given = _in_float64(cameras.extrinsics)[[one.index for one in batch.images]]
    prediction = engine.views(
        batch,
        options.network,
        torch.from_numpy(normalize_extrinsics(given))[None],
        None if batch.intrinsics is None else batch.intrinsics[None],
    )
    if prediction.extrinsics is None:
        return prediction
    extrinsics, divisor = align_poses(given, prediction.extrinsics, to_given=cameras.align_depth)
    aligned = replace(prediction, extrinsics=extrinsics, depth=prediction.depth / np.float32(divisor))
    if cameras.align_depth:  # depth is now in the unit of the given poses
        return replace(aligned, is_metric=0, depth_kind=DepthKind.RELATIVE)
    return aligned


def _in_float64(matrices: Any) -> npt.NDArray[np.float64]:  # Any: array-like, or a tensor
    """Convert camera matrices to float64: float32 would move a camera in map coordinates by half a metre."""
    return np.asarray(matrices.detach().cpu() if isinstance(matrices, torch.Tensor) else matrices, np.float64)
