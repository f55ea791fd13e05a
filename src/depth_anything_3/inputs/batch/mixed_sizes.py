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

__all__ = ["carry_intrinsics", "unify"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]


def unify(batches: Sequence[ProcessedBatch], mixed: MixedSizes) -> ProcessedBatch:
    """One batch of all, in order, cut or padded to one height and one width, each taken on its own.

    Raises:
        ShapeMismatchError: they differ in size and `mixed` is "refuse".
    """
    if len(batches) == 1:
        return batches[0]
    images = sorted((one for batch in batches for one in batch.images), key=lambda one: one.index)
    listed = ", ".join(f"{one.label} {one.plan.result_hw[1]}x{one.plan.result_hw[0]}" for one in images[:10])
    if mixed is MixedSizes.REFUSE:
        raise ShapeMismatchError(
            f"the views have different sizes after resizing ({listed}); give views of one shape, or "
            "mixed_sizes='crop' to cut all to the smallest, or 'pad' to set all into the largest"
        )
    padded = mixed is MixedSizes.PAD
    sizes = [batch.images[0].plan.result_hw for batch in batches]
    bound = max if padded else min
    common = bound(height for height, _ in sizes), bound(width for _, width in sizes)
    done = "padded" if padded else "cut"
    logger.warning("the views have different sizes (%s): all are %s to %dx%d", listed, done, common[1], common[0])
    order = np.argsort([one.index for batch in batches for one in batch.images]).tolist()
    crops = [center_crop(size, common) for size in sizes]
    pixels = torch.cat([_fitted(batch.pixels, crop) for batch, crop in zip(batches, crops, strict=True)])[order]
    plain = all(batch.tensor is batch.pixels for batch in batches)
    tensor = torch.cat([_fitted(batch.tensor, crop) for batch, crop in zip(batches, crops, strict=True)])[order]
    tensor = pixels if plain else tensor
    windows = tuple(center_crop(common, one.plan.result_hw) for one in images) if padded else ()
    unified = replace(batches[0], tensor=tensor, pixels=pixels, images=tuple(images), ready=None)
    return replace(unified, windows=windows)


def _fitted(tensor: torch.Tensor, crop: Crop) -> torch.Tensor:
    """A window of pictures, which may reach beyond them: there it is the grey that becomes 0 when normalised."""
    if crop.top >= 0 and crop.left >= 0:
        return tensor[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    height, width = tensor.shape[-2:]
    fitted = tensor.new_zeros((*tensor.shape[:-2], crop.height, crop.width))
    if not tensor.is_floating_point():
        fitted += (torch.tensor(MEAN, device=tensor.device) * 255).round().to(tensor.dtype).view(3, 1, 1)
    inside = center_crop((crop.height, crop.width), (height, width))
    fitted[..., inside.top : inside.top + height, inside.left : inside.left + width] = tensor
    return fitted


def carry_intrinsics(batch: ProcessedBatch, intrinsics: FloatArray) -> list[FloatArray]:
    """The matrices of the pictures in a batch, carried through their plans and the cut to a common size."""
    common = batch.pixels.shape[-2], batch.pixels.shape[-1]
    carried = [one.plan.transform_intrinsics(intrinsics[one.index]) for one in batch.images]
    if batch.windows:
        return [_shifted(matrix, window) for matrix, window in zip(carried, batch.windows, strict=True)]
    sizes = [one.plan.result_hw for one in batch.images]
    return [crop_intrinsics(matrix, center_crop(size, common)) for matrix, size in zip(carried, sizes, strict=True)]


def _shifted(matrix: FloatArray, window: Crop) -> FloatArray:
    """A camera matrix after its picture was set into a larger one, at that window."""
    return crop_intrinsics(matrix, replace(window, top=-window.top, left=-window.left))
