"""Use a caller's own function in place of the input processor, as clients of upstream do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import fields, replace
from typing import Any

import torch

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.records import PlannedImage
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.given_images import ImagesInput, expand_images, read_open_files
from depth_anything_3.inputs.image_source import ImageInput, ImageSource, as_source
from depth_anything_3.inputs.limits import PATCH_SIZE
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.plan.resize_plan import Orientation, ResizePlan
from depth_anything_3.inputs.resample.normalize import MEAN, STD

__all__ = ["GivenProcessor"]

_POSITIONAL = ("process_res", "process_res_method")
_DEFAULTS = PreprocessOptions()


class GivenProcessor:
    """Prepares images with a function of the caller.

    Args:
        process: called as upstream calls its input processor: with images, extrinsics, intrinsics, process_res and
            process_res_method; and with other options by keyword if they differ from their defaults. It returns what an
            `InputProcessor` returns, or a tuple of three: normalised images (N, 3, H, W), and (N, 4, 4) extrinsics and
            (N, 3, 3) intrinsics in pixels of those images, or None.
    """

    def __init__(self, process: Callable[..., Any]) -> None:  # Any: the result is checked
        if not callable(process):
            raise InvalidInputError(
                f"input_processor={process!r} cannot be called; pass an InputProcessor, a function or None"
            )
        self.process = process

    def views(
        self,
        images: ImagesInput,
        options: PreprocessOptions = _DEFAULTS,
        extrinsics: Any = None,  # Any: array-like
        intrinsics: Any = None,
    ) -> ProcessedBatch:
        """Prepare the views of one scene as one batch.

        Raises:
            InvalidInputError: the function returns something else than it should.
        """
        given = read_open_files(expand_images(images).images, options.max_bytes)
        inputs: list[Any] = [_data_of(one) if isinstance(one, ImageSource) else one for one in given]  # Any: an image
        names = (one.name for one in fields(options) if one.name not in _POSITIONAL)
        changed = {name: value for name in names if (value := getattr(options, name)) != getattr(_DEFAULTS, name)}
        method = options.process_res_method.value
        result = self.process(inputs, extrinsics, intrinsics, options.bounded_px, method, **changed)
        return result if isinstance(result, ProcessedBatch) else _as_batch(result, inputs)

    def batches(
        self,
        images: ImagesInput,
        options: PreprocessOptions = _DEFAULTS,
        *,
        batch_size: int = 1,
        limit: Callable[[tuple[int, int]], int] | None = None,
        on_shortage: Callable[[tuple[int, int], int], None] | None = None,
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        """Yield independent images in order, each in a batch of its own; the other arguments are ignored."""
        options = replace(options, on_error=OnError.RAISE)  # the caller of this method decides
        given: Iterable[Any] = read_open_files(expand_images(images).images, options.max_bytes)  # Any: an image
        for index, image in enumerate(given):
            label = _label(image, index)
            try:
                batch = self.views([image], options)
            except DA3Error as error:
                yield ImageFailure(index, label, error)
                continue
            yield replace(batch, images=tuple(replace(one, index=index, label=label) for one in batch.images))

    def warm_up(self) -> None:
        """Do nothing: the function warms up by itself."""

    def release_memory(self) -> None:
        """Do nothing: the function manages its memory by itself."""


def _data_of(source: ImageSource) -> object:
    if isinstance(source.data, DA3Error):
        raise source.data
    return source.data


def _label(image: ImageInput | ImageSource, index: int) -> str:
    try:
        return as_source(image, index).label
    except DA3Error:  # the function may take what this package does not
        return f"image {index}"


def _as_batch(result: object, inputs: list[ImageInput]) -> ProcessedBatch:
    if not isinstance(result, (tuple, list)) or len(result) != 3 or not isinstance(result[0], torch.Tensor):
        raise InvalidInputError(
            f"the input_processor returned {type(result).__name__}; return (images, extrinsics, intrinsics), with "
            "images as a tensor (N, 3, H, W)"
        )
    tensor, extrinsics, intrinsics = result
    shape = tuple(tensor.shape)
    fits = tensor.ndim == 4 and shape[:2] == (len(inputs), 3) and not (shape[2] % PATCH_SIZE or shape[3] % PATCH_SIZE)
    if not fits or not tensor.is_floating_point():
        raise InvalidInputError(
            f"the input_processor returned images of shape {shape} and dtype {tensor.dtype}; return normalised "
            f"floating-point images ({len(inputs)}, 3, H, W), H and W multiples of {PATCH_SIZE}"
        )
    mean, std = (torch.tensor(values, device=tensor.device).view(3, 1, 1) for values in (MEAN, STD))
    pixels = ((tensor.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    plan = ResizePlan((shape[2], shape[3]), Orientation.from_exif(1), (), None)  # the source's size is unknown
    images = tuple(
        PlannedImage(index=index, label=as_source(image, index).label, plan=plan) for index, image in enumerate(inputs)
    )
    return ProcessedBatch(tensor, _matrices(extrinsics), _matrices(intrinsics), images, (), pixels)


def _matrices(given: Any) -> torch.Tensor | None:  # Any: array-like
    return None if given is None else torch.as_tensor(given, dtype=torch.float32, device="cpu")
