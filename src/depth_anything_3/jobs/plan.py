"""Plan the preprocessing of images from their headers, without decoding them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.exported.runtimes.installed import read_metadata
from depth_anything_3.exported.runtimes.open import is_exported_file
from depth_anything_3.inference.backends.graph_module import exported_card
from depth_anything_3.inputs.batch.preparer import ImagePreparer, attempt
from depth_anything_3.inputs.failure import ImageFailure, failure_handler
from depth_anything_3.inputs.header import ImageHeader
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.plan.description import PlanDescriber
from depth_anything_3.inputs.plan.resize_plan import ResizePlan, plan_resize
from depth_anything_3.inputs.resample.normalize import MEAN, STD
from depth_anything_3.inputs.routing.strategy import (
    Capabilities,
    ImageTraits,
    Request,
    RoutingDecision,
    choose_strategy,
)
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.checkpoint import find_checkpoint
from depth_anything_3.prediction.focal_length import ExifFocalLength, check_focal_or_fov, exif_focal_length

__all__ = ["PLAN_VERSION", "ImagePlan", "Planner", "describe_plans", "model_process_res"]

PLAN_VERSION = 1
"""Version of the values of `describe_plans`; it rises when programs that read them have to change."""


@dataclass(frozen=True, eq=False)
class ImagePlan:
    """What turns one image into the network's input.

    Attributes:
        plan: the geometry.
        path, header: of the file; None for a size alone.
        choice: the strategy on this machine, and its reason; None for a size alone.
        focal: focal length in pixels of the upright image; None if it is unknown.
    """

    plan: ResizePlan
    path: str | None = None
    header: ImageHeader | None = None
    choice: RoutingDecision | None = None
    focal: ExifFocalLength | None = None

    @property
    def transform(self) -> npt.NDArray[np.float64]:
        """(3, 3) matrix whose product with intrinsics of the upright image gives those of the network's input."""
        return np.asarray(self.plan.transform_intrinsics(np.eye(3)), np.float64)

    @property
    def focal_px(self) -> float | None:
        """Focal length in pixels of the network's input, as exported networks take it; None if it is unknown."""
        scale = float(self.transform[0, 0] + self.transform[1, 1]) / 2
        return None if self.focal is None else self.focal.pixels * scale

    def as_dict(self, describer: PlanDescriber) -> dict[str, Any]:  # Any: what JSON holds
        """Return plain values that refer to the operators of `describer`."""
        focal, choice, header = self.focal, self.choice, self.header
        return {
            "file": self.path,
            "format": header and header.format,
            "exif_orientation": header.exif_orientation if header else 1,
            **describer.describe(self.plan),
            "intrinsics_transform": self.transform.tolist(),
            "focal": focal and {"pixels": self.focal_px, "origin": focal.origin, "doubt": focal.doubt},
            "strategy": choice and {"name": choice.strategy.value, "reason": choice.reason},
        }


class Planner:
    """Plans images for one model, on one machine.

    Args:
        options: preprocessing options with a `process_res`.
        capabilities: what the machine supports.
        focal: focal length in pixels of the upright images; None takes that of their Exif.
        fov: horizontal field of view in degrees, instead of `focal`.

    Raises:
        InvalidInputError: both are given, or one is out of range.
    """

    def __init__(
        self,
        options: PreprocessOptions,
        capabilities: Capabilities | None = None,
        *,
        focal: float | None = None,
        fov: float | None = None,
    ) -> None:
        check_focal_or_fov(focal, fov)
        self.options = options
        self._capabilities = capabilities or Capabilities()
        self._request = Request.of(options.strategy, options.fidelity)
        self._focal, self._fov = focal, fov
        self._prepare = ImagePreparer(options)

    def files(self, paths: Iterable[Path], on_failure: Callable[[ImageFailure], None]) -> list[ImagePlan]:
        """Plan images by their headers; call `on_failure` with each unusable one, unless `on_error` is "raise".

        Raises:
            InputFileError: an image cannot be read, or is too large or too thin.
        """
        handle = failure_handler(self.options.on_error, on_failure)
        plans = []
        for index, path in enumerate(paths):
            opened = attempt(self._prepare.open, index, path)
            if isinstance(opened, ImageFailure):
                handle(opened)
                continue
            traits = ImageTraits(opened.header, reduction=opened.plan.reduction)
            plans.append(
                ImagePlan(
                    opened.plan,
                    opened.label,
                    opened.header,
                    choose_strategy(self._capabilities, traits, self._request),
                    self._focal_length(opened.plan, opened.exif),
                )
            )
        return plans

    def size(self, source_hw: tuple[int, int]) -> ImagePlan:
        """Plan upright images of this (height, width), such as the frames of a camera.

        Raises:
            ImageSizeError: the size is too thin for a usable result, or too large.
        """
        plan = plan_resize(source_hw, self.options.bounded_px, self.options.process_res_method)
        return ImagePlan(plan, focal=self._focal_length(plan, b""))

    def _focal_length(self, plan: ResizePlan, exif: bytes) -> ExifFocalLength | None:
        if self._focal is not None:
            return ExifFocalLength(self._focal, "given focal length")
        if self._fov is not None:
            pixels = plan.source_hw[1] / 2 / math.tan(math.radians(self._fov) / 2)
            return ExifFocalLength(pixels, "given field of view")
        return exif_focal_length(exif, plan.source_hw)


def describe_plans(
    plans: Iterable[ImagePlan], failures: Iterable[ImageFailure], options: PreprocessOptions
) -> dict[str, Any]:  # Any: what JSON holds
    """Return plans as plain values; docs/export-model.md#input-in-other-languages states what each means."""
    describer = PlanDescriber()
    return {
        "version": PLAN_VERSION,
        "process_res": options.bounded_px,
        "process_res_method": options.process_res_method.value,
        "mean": list(MEAN),
        "std": list(STD),
        "images": [one.as_dict(describer) for one in plans],
        "failures": [{"file": one.label, "error": str(one.error)} for one in failures],
        "operators": describer.operators,
    }


def model_process_res(name: str) -> int | None:
    """Find the best `process_res` of a model; None where it is the package's default. Nothing is downloaded.

    Args:
        name: preset, hub id, folder of a checkpoint, or exported file.

    Raises:
        CheckpointNotFoundError, CheckpointFormatError: see `find_checkpoint` and `read_metadata`.
        UnsupportedError: see `read_metadata`.
    """
    if is_exported_file(name):
        metadata = read_metadata(Path(name))
        return metadata.process_res or exported_card(metadata, name).best_process_res
    known = (card for card in MODEL_CARDS.values() if name == card.name or name in card.hub_ids)
    card = None if os.path.isdir(name) else next(known, None)
    return (card or MODEL_CARDS[find_checkpoint(name, local_files_only=True).preset]).best_process_res
