"""Plan the geometry of preprocessing from an image's size.

A plan states what the reference preprocessing of Depth Anything 3 does to one image: a resize that keeps the aspect
ratio and scales the longest or shortest side to `process_res`; then a second, small resize or a centre crop, so that
both sides are multiples of 14; and the matching transform of the intrinsics. Sizes are always (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ImageSizeError
from depth_anything_3.inputs.choices import ProcessResMethod, ProcessResMethodName
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES, PATCH_SIZE, check_process_res

__all__ = [
    "Crop",
    "Interpolation",
    "Orientation",
    "ResizePlan",
    "ResizeStep",
    "center_crop",
    "crop_intrinsics",
    "plan_resize",
]

MAX_RESULT_PIXELS = 32 * 2**20
"""Maximum result size: `lower_bound_*` would enlarge a 1x3000 image to 762 million pixels."""

Size = tuple[int, int]


class Interpolation(str, Enum):
    """The reference's two interpolation kernels, both OpenCV's."""

    AREA = "area"
    CUBIC = "cubic"


@dataclass(frozen=True)
class Orientation:
    """An EXIF orientation (1 to 8) as flips of the stored rows and columns, followed by a transpose."""

    flip_rows: bool = False
    flip_columns: bool = False
    transpose: bool = False

    @classmethod
    def from_exif(cls, value: int) -> Orientation:
        """Convert an EXIF value; values outside 1 to 8 mean upright, as in other decoders."""
        return cls(flip_rows=value in (3, 4, 6, 7), flip_columns=value in (2, 3, 7, 8), transpose=5 <= value <= 8)

    def oriented_hw(self, size: Size) -> Size:
        """Return the (height, width) of a stored size when upright, or of an upright size as stored."""
        height, width = size
        return (width, height) if self.transpose else (height, width)

    def upright(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return stored pixels (height, width, channels) upright and contiguous."""
        pixels = pixels[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(pixels.swapaxes(0, 1) if self.transpose else pixels)


@dataclass(frozen=True)
class ResizeStep:
    """One resize with the same kernel on both axes."""

    source_hw: Size
    result_hw: Size
    interpolation: Interpolation


@dataclass(frozen=True)
class Crop:
    """A window of whole pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class ResizePlan:
    """The geometry of one image from the stored pixels to the network's input.

    Attributes:
        stored_hw: size of the image as stored, before its orientation is applied.
        orientation: flips and transpose that make the stored image upright.
        steps: zero, one or two resizes of the upright image, in order.
        crop: window to cut out after the resizes, or None.
        reduced_by: 2, 4 or 8 if the image was decoded at that fraction of its size. Each decoded sample is then the
            mean of a square of that side, which may be smaller at the right and bottom borders. All sizes here still
            refer to the full-size image.
    """

    stored_hw: Size
    orientation: Orientation
    steps: tuple[ResizeStep, ...]
    crop: Crop | None
    reduced_by: int = 1

    @property
    def source_hw(self) -> Size:
        """Size of the upright image, which camera intrinsics refer to."""
        return self.orientation.oriented_hw(self.stored_hw)

    @property
    def resized_hw(self) -> Size:
        """Size after the resizes, before the crop."""
        return self.steps[-1].result_hw if self.steps else self.source_hw

    @property
    def result_hw(self) -> Size:
        """Size of the network's input; both sides are multiples of 14."""
        return (self.crop.height, self.crop.width) if self.crop else self.resized_hw

    @property
    def reduction(self) -> float:
        """Source length over the length after the first resize; below 1, the image is enlarged."""
        return max(self.steps[0].source_hw) / max(self.steps[0].result_hw) if self.steps else 1.0

    def for_decoded_size(self, stored_hw: Size) -> ResizePlan:
        """Return a plan with the same result for the same image decoded at a smaller size."""
        first = replace(self.steps[0], source_hw=self.orientation.oriented_hw(stored_hw))
        return replace(self, stored_hw=stored_hw, steps=(first, *self.steps[1:]))

    def transform_intrinsics(self, intrinsics: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Transform intrinsics of the upright source to the result.

        Each resize scales the first row by the ratio of widths and the second by the ratio of heights, without a
        half-pixel term; a crop shifts the principal point by whole pixels. The input is not modified.

        Args:
            intrinsics: (3, 3) floating-point camera matrix in pixels of the upright source.

        Returns:
            (3, 3) of the same dtype, in pixels of the result.
        """
        matrix = np.array(intrinsics, copy=True)
        for step in self.steps:
            (height, width), (new_height, new_width) = step.source_hw, step.result_hw
            matrix[0] *= new_width / width
            matrix[1] *= new_height / height
        return crop_intrinsics(matrix, self.crop) if self.crop else matrix


def plan_resize(
    stored_hw: Size,
    process_res: int = DEFAULT_PROCESS_RES,
    process_res_method: ProcessResMethod | ProcessResMethodName = ProcessResMethod.UPPER_BOUND_RESIZE,
    *,
    exif_orientation: int = 1,
) -> ResizePlan:
    """Plan the reference preprocessing of an image.

    Args:
        stored_hw: (height, width) of the pixels as stored.
        process_res: length in pixels of the bounded side, at least 14.
        process_res_method: see `ProcessResMethod`.
        exif_orientation: EXIF value, 1 to 8; the resizes apply to the upright image.

    Raises:
        InvalidInputError: `process_res` or the method is not accepted.
        ImageSizeError: the image is empty, or too thin for a usable result, or the result is too large.
    """
    method = ProcessResMethod(process_res_method)
    process_res = check_process_res(process_res)
    orientation = Orientation.from_exif(exif_orientation)
    source = orientation.oriented_hw(stored_hw)
    if min(source) < 1:
        raise ImageSizeError(f"the image is empty ({source[1]}x{source[0]} pixels)")

    side = max(source) if method.bounds_longest_side else min(source)
    bounded = _scaled(source, process_res / side)
    steps = []
    if side != process_res:
        kernel = Interpolation.CUBIC if process_res > side else Interpolation.AREA
        steps.append(ResizeStep(source, bounded, kernel))
    crop = None
    if method.crops:
        result = (bounded[0] - bounded[0] % PATCH_SIZE, bounded[1] - bounded[1] % PATCH_SIZE)
        if result != bounded:
            crop = center_crop(bounded, result)
    else:
        result = (_nearest_multiple(bounded[0]), _nearest_multiple(bounded[1]))
        if result != bounded:
            # If one axis grows, the reference uses cubic on both.
            grows = result[0] > bounded[0] or result[1] > bounded[1]
            steps.append(ResizeStep(bounded, result, Interpolation.CUBIC if grows else Interpolation.AREA))
    _check_result(source, result, int(process_res), method)
    return ResizePlan(stored_hw, orientation, tuple(steps), crop)


def _scaled(source: Size, scale: float) -> Size:
    # The reference rounds the quotient first, and ties to even: 1080 of 1920 at 504 becomes 284 (from 283.5), 345 of
    # 720 becomes 241 (345 * 0.7 is just below its tie). `old * process_res / side` would differ.
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def _nearest_multiple(side: int) -> int:
    """Round to the nearest multiple of 14, ties up; at least 1 (sides of 1 to 6)."""
    return max(1, (side + PATCH_SIZE // 2) // PATCH_SIZE * PATCH_SIZE)


def _check_result(source: Size, result: Size, process_res: int, method: ProcessResMethod) -> None:
    what = f"a {source[1]}x{source[0]} image with process_res={process_res}, {method.value}"
    if min(result) < PATCH_SIZE:
        raise ImageSizeError(
            f"{what} becomes {result[1]}x{result[0]}, but the network needs {PATCH_SIZE} pixels on each side; "
            "crop the image to a less extreme aspect ratio, or raise process_res; or pass "
            "process_res_method='lower_bound_resize'"
        )
    if result[0] * result[1] > MAX_RESULT_PIXELS:
        raise ImageSizeError(
            f"{what} becomes {result[1]}x{result[0]}, more than {MAX_RESULT_PIXELS // 2**20} million pixels; "
            "pass a smaller process_res; or pass process_res_method='upper_bound_resize'"
        )


def center_crop(old_hw: Size, new_hw: Size) -> Crop:
    """Return the centred window of `new_hw` in `old_hw`; an odd margin is larger at the bottom or right."""
    return Crop((old_hw[0] - new_hw[0]) // 2, (old_hw[1] - new_hw[1]) // 2, *new_hw)


def crop_intrinsics(intrinsics: npt.NDArray[np.floating], crop: Crop) -> npt.NDArray[np.floating]:
    """Return a (3, 3) camera matrix after `crop`: the principal point shifts by the window's offset."""
    matrix = np.array(intrinsics, copy=True)
    matrix[0, 2] -= crop.left
    matrix[1, 2] -= crop.top
    return matrix
