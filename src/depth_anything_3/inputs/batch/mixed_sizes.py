"""Crop or pad views of different sizes to one size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    slots = np.argsort(np.argsort([one.index for batch in batches for one in batch.images])).tolist()
    pixels = _merged([batch.pixels for batch in batches], slots, common)
    unnormalized = all(batch.tensor is batch.pixels for batch in batches)
    tensor = pixels if unnormalized else _merged([batch.tensor for batch in batches], slots, common)
    windows = tuple(center_crop(common, one.plan.result_hw) for one in images) if padded else ()
    return replace(batches[0], tensor=tensor, pixels=pixels, images=tuple(images), ready=None, windows=windows)


def _merged(tensors: Sequence[torch.Tensor], slots: Sequence[int], common: tuple[int, int]) -> torch.Tensor:
    """Crop or pad images to a common size, into the given slots; padding is the grey that normalises to 0."""
    merged = tensors[0].new_empty((len(slots), 3, *common))
    # By numpy on the CPU: torch's threads do not exist in the child of a fork, and its operators would wait for them.
    use_numpy = merged.device.type == "cpu" and merged.dtype in (torch.uint8, torch.float32)
    target: Any = merged.numpy() if use_numpy else merged  # Any: an array or a tensor
    for channel, mean in enumerate(MEAN):
        target[:, channel] = 0 if merged.is_floating_point() else round(mean * 255)
    done = 0
    for tensor in tensors:
        source: Any = tensor.numpy() if use_numpy else tensor
        size = tensor.shape[-2], tensor.shape[-1]
        crop, inside = center_crop(size, common), center_crop(common, size)
        rows, target_rows = _overlap(crop.top, inside.top, min(size[0], common[0]))
        columns, target_columns = _overlap(crop.left, inside.left, min(size[1], common[1]))
        for slot, image in zip(slots[done : done + len(tensor)], source, strict=True):
            target[slot, :, target_rows, target_columns] = image[:, rows, columns]
        done += len(tensor)
    return merged


def _overlap(source: int, target: int, length: int) -> tuple[slice, slice]:
    """Return the part of a side that is copied, and where to; one of the two offsets is 0 or less."""
    source, target = max(source, 0), max(target, 0)
    return slice(source, source + length), slice(target, target + length)


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
