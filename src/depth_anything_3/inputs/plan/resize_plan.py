"""The geometry of preprocessing: a source size in, a `ResizePlan` out.

A plan is what the reference preprocessing of Depth Anything 3 does to one picture, as plain numbers: a resize that
keeps the aspect ratio and brings the longest or shortest side to `process_res`; then either a second, small resize
or a centre crop, so that both sides are multiples of 14; and what happens to the camera intrinsics on the way.
No pixels are touched here. Sizes are always (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import ImageSizeError
from depth_anything_3.inputs.choices import ProcessResMethod
from depth_anything_3.inputs.limits import PATCH_SIZE, check_process_res

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
"""A larger result is refused: `lower_bound_*` would turn a 1x3000 sliver into 762 million pixels."""

Size = tuple[int, int]


class Interpolation(str, Enum):
    """The two kernels of the reference, both OpenCV's."""

    AREA = "area"
    CUBIC = "cubic"


@dataclass(frozen=True)
class Orientation:
    """What an EXIF orientation (1 to 8) asks for, in terms of the rows and columns as stored.

    The turned picture is the stored one with its rows and columns reversed where the flags say so, then transposed.
    """

    flip_rows: bool = False
    flip_columns: bool = False
    transpose: bool = False

    @classmethod
    def from_exif(cls, value: int) -> Orientation:
        """The turn for an EXIF value; anything outside 1..8 means upright, as every decoder has it."""
        return cls(flip_rows=value in (3, 4, 6, 7), flip_columns=value in (2, 3, 7, 8), transpose=5 <= value <= 8)

    def turned(self, height_width: Size) -> Size:
        """The size of the turned picture."""
        height, width = height_width
        return (width, height) if self.transpose else (height, width)


@dataclass(frozen=True)
class ResizeStep:
    """One resize: from one size to another with one kernel on both axes."""

    source_hw: Size
    result_hw: Size
    interpolation: Interpolation


@dataclass(frozen=True)
class Crop:
    """A window cut out without interpolation."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class ResizePlan:
    """Everything that happens to one picture's geometry, from the stored pixels to the network's input.

    Attributes:
        stored_hw: size of the picture as stored, before it is turned.
        orientation: how the stored picture is turned to stand upright.
        steps: none, one or two resizes of the upright picture, in order.
        crop: window cut out after the resizes, or None.
        reduced_by: the stored picture was decoded at 1/2, 1/4 or 1/8 of its size: each of its samples is the mean of a
            square of that side, cut off at the right and bottom. All sizes here are still those of the whole picture.
    """

    stored_hw: Size
    orientation: Orientation
    steps: tuple[ResizeStep, ...]
    crop: Crop | None
    reduced_by: int = 1

    @property
    def source_hw(self) -> Size:
        """Size of the upright picture: the frame that camera intrinsics refer to."""
        return self.orientation.turned(self.stored_hw)

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
        """How many times longer the source is than the first resize makes it; below 1 it is enlarged."""
        return max(self.steps[0].source_hw) / max(self.steps[0].result_hw) if self.steps else 1.0

    def from_reduced(self, stored_hw: Size) -> ResizePlan:
        """The same result from the same picture decoded at a smaller size, which covers the same field of view."""
        first = replace(self.steps[0], source_hw=self.orientation.turned(stored_hw))
        return replace(self, stored_hw=stored_hw, steps=(first, *self.steps[1:]))

    def transform_intrinsics(self, intrinsics: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Intrinsics of the upright source carried to the result.

        Each resize multiplies the first row by the ratio of widths and the second by the ratio of heights, without a
        half-pixel term; a crop moves the principal point by whole pixels. The input is not changed.

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
    process_res: int = 504,
    process_res_method: ProcessResMethod | str = ProcessResMethod.UPPER_BOUND_RESIZE,
    *,
    exif_orientation: int = 1,
) -> ResizePlan:
    """Plan what the reference preprocessing does to a picture.

    Args:
        stored_hw: (height, width) of the pixels as stored.
        process_res: length in pixels of the bounded side, at least 14.
        process_res_method: see `ProcessResMethod`.
        exif_orientation: EXIF value 1 to 8; the plan is made for the upright picture.

    Raises:
        InvalidInputError: `process_res` or the method is not accepted.
        ImageSizeError: the picture is empty, or too thin for a usable result.
    """
    method = ProcessResMethod(process_res_method)
    process_res = check_process_res(process_res)
    orientation = Orientation.from_exif(exif_orientation)
    source = orientation.turned(stored_hw)
    if min(source) < 1:
        raise ImageSizeError(f"the picture is empty ({source[1]}x{source[0]} pixels)")

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
            # One growing axis is enough to make both axes cubic.
            grows = result[0] > bounded[0] or result[1] > bounded[1]
            steps.append(ResizeStep(bounded, result, Interpolation.CUBIC if grows else Interpolation.AREA))
    _check_result(source, result, int(process_res), method)
    return ResizePlan(stored_hw, orientation, tuple(steps), crop)


def _scaled(source: Size, scale: float) -> Size:
    # The quotient comes in already rounded, and halves go to the even number: 1080 of 1920 at 504 is 284 (from 283.5),
    # 345 of 720 is 241 (345 * 0.7 is just below its tie). `old * process_res / side` would differ.
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def _nearest_multiple(side: int) -> int:
    """Nearest multiple of 14, the upper one when both are 7 away, and never below 1 (sides of 1 to 6)."""
    return max(1, (side + PATCH_SIZE // 2) // PATCH_SIZE * PATCH_SIZE)


def _check_result(source: Size, result: Size, process_res: int, method: ProcessResMethod) -> None:
    what = f"a {source[1]}x{source[0]} picture with process_res={process_res}, {method.value}"
    if min(result) < PATCH_SIZE:
        raise ImageSizeError(
            f"{what} becomes {result[1]}x{result[0]}, but the network needs {PATCH_SIZE} pixels on each side; "
            "cut the picture less thin, raise process_res, or use lower_bound_resize"
        )
    if result[0] * result[1] > MAX_RESULT_PIXELS:
        raise ImageSizeError(
            f"{what} becomes {result[1]}x{result[0]}, more than {MAX_RESULT_PIXELS // 2**20} million pixels; "
            "use upper_bound_resize or a smaller process_res"
        )


def center_crop(old_hw: Size, new_hw: Size) -> Crop:
    """The centred window of `new_hw` in `old_hw`; an odd margin leaves its extra line at the bottom or right."""
    return Crop((old_hw[0] - new_hw[0]) // 2, (old_hw[1] - new_hw[1]) // 2, *new_hw)


def crop_intrinsics(intrinsics: npt.NDArray[np.floating], crop: Crop) -> npt.NDArray[np.floating]:
    """A (3, 3) camera matrix after `crop`: the principal point moves by the window's offset."""
    matrix = np.array(intrinsics, copy=True)
    matrix[0, 2] -= crop.left
    matrix[1, 2] -= crop.top
    return matrix
