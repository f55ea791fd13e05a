"""Crop or pad views of different sizes to one size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from depth_anything_3.errors import ShapeMismatchError
from depth_anything_3.inputs.choices import MixedSizes
from depth_anything_3.inputs.plan.resize_plan import Crop, center_crop, crop_intrinsics
from depth_anything_3.inputs.resample.normalize import MEAN

if TYPE_CHECKING:
    from depth_anything_3.inputs.batch.batch import ProcessedBatch

__all__ = ["crop_or_pad", "transform_intrinsics"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]


def crop_or_pad(batches: Sequence[ProcessedBatch], mixed: MixedSizes) -> ProcessedBatch:
    """Merge batches, in image order, by cropping or padding to a common height and width.

    The common height and the common width are chosen independently of each other.

    Raises:
        ShapeMismatchError: the sizes differ and `mixed` is "refuse".
    """
    if len(batches) == 1:
        return batches[0]
    images = sorted((one for batch in batches for one in batch.images), key=lambda one: one.index)
    listed = ", ".join(f"{one.label} {one.plan.result_hw[1]}x{one.plan.result_hw[0]}" for one in images[:10])
    if mixed is MixedSizes.REFUSE:
        raise ShapeMismatchError(
            f"the views have different sizes after resizing ({listed}); give views of one shape, or "
            "mixed_sizes='crop' to crop to the smallest, or 'pad' to pad to the largest"
        )
    padded = mixed is MixedSizes.PAD
    sizes = [batch.images[0].plan.result_hw for batch in batches]
    bound = max if padded else min
    common = bound(height for height, _ in sizes), bound(width for _, width in sizes)
    done = "padded" if padded else "cropped"
    logger.warning("the views have different sizes (%s); all are %s to %dx%d", listed, done, common[1], common[0])
    order = np.argsort([one.index for batch in batches for one in batch.images]).tolist()
    crops = [center_crop(size, common) for size in sizes]
    pixels = torch.cat([_crop_or_pad(batch.pixels, crop) for batch, crop in zip(batches, crops, strict=True)])[order]
    unnormalized = all(batch.tensor is batch.pixels for batch in batches)
    tensor = torch.cat([_crop_or_pad(batch.tensor, crop) for batch, crop in zip(batches, crops, strict=True)])[order]
    tensor = pixels if unnormalized else tensor
    windows = tuple(center_crop(common, one.plan.result_hw) for one in images) if padded else ()
    return replace(batches[0], tensor=tensor, pixels=pixels, images=tuple(images), ready=None, windows=windows)


def _crop_or_pad(tensor: torch.Tensor, crop: Crop) -> torch.Tensor:
    """Cut a window out of images; outside them it is filled with the grey that normalises to 0."""
    if crop.top >= 0 and crop.left >= 0:
        return tensor[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    height, width = tensor.shape[-2:]
    result = tensor.new_zeros((*tensor.shape[:-2], crop.height, crop.width))
    if not tensor.is_floating_point():
        result += (torch.tensor(MEAN, device=tensor.device) * 255).round().to(tensor.dtype).view(3, 1, 1)
    inside = center_crop((crop.height, crop.width), (height, width))
    result[..., inside.top : inside.top + height, inside.left : inside.left + width] = tensor
    return result


def transform_intrinsics(batch: ProcessedBatch, intrinsics: FloatArray) -> list[FloatArray]:
    """Return the intrinsics of a batch's images after their plans and the crop or padding to a common size."""
    common = batch.pixels.shape[-2], batch.pixels.shape[-1]
    matrices = [one.plan.transform_intrinsics(intrinsics[one.index]) for one in batch.images]
    if batch.windows:
        return [_padded_intrinsics(matrix, window) for matrix, window in zip(matrices, batch.windows, strict=True)]
    sizes = [one.plan.result_hw for one in batch.images]
    return [crop_intrinsics(matrix, center_crop(size, common)) for matrix, size in zip(matrices, sizes, strict=True)]


def _padded_intrinsics(matrix: FloatArray, window: Crop) -> FloatArray:
    """Return a camera matrix after its image was padded to the position of `window`."""
    return crop_intrinsics(matrix, replace(window, top=-window.top, left=-window.left))
