"""Convert predictions to metric depth by a focal length or a field of view."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.model.catalog import DepthKind, ModelCard, models_that
from depth_anything_3.prediction.focal_length import check_focal_or_fov
from depth_anything_3.prediction.prediction import Prediction, to_metric

__all__ = ["MetricConversion"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MetricConversion:
    """Converts predictions to metric depth. Without a focal length or field of view, uses the images' Exif.

    Args:
        focal: focal length in pixels of the source images; see `Prediction.metric_depth`.
        fov: horizontal field of view in degrees.

    Raises:
        InvalidInputError: both are given, or one is out of range.
    """

    focal: float | None = None
    fov: float | None = None

    def __post_init__(self) -> None:
        check_focal_or_fov(self.focal, self.fov)

    def check(self, card: ModelCard) -> None:
        """Raise an error for a model whose depth has no unit, before anything is computed.

        A focal length or field of view that has no effect, because depth is metric already, is logged.

        Raises:
            UnsupportedError: the model predicts relative depth; the message names models with metric depth.
        """
        if card.depth_kind is DepthKind.RELATIVE:
            alternatives = models_that(lambda one: one.depth_kind is not DepthKind.RELATIVE)
            raise UnsupportedError(f"depth of {card.name} has no unit; for metric depth use {alternatives}")
        for name in ("focal", "fov"):
            if card.depth_kind is DepthKind.METRIC and getattr(self, name) is not None:
                logger.warning("%s= has no effect: depth of %s is metric already", name, card.name)

    def apply(self, prediction: Prediction) -> tuple[Prediction, tuple[str, ...]]:
        """Convert a prediction to metric depth, with intrinsics.

        Returns:
            The converted prediction, and the origin of each view's focal length. If depth is metric already: the same
            prediction, and no origins.

        Raises:
            InvalidInputError: a focal length is unknown.
            UnsupportedError: the depth has no unit.
        """
        depth, focal = to_metric(prediction, self.focal, self.fov)
        if focal is None:
            return prediction, ()
        known = prediction.intrinsics
        camera = prediction.centred_intrinsics(focal) if known is None else known
        metric = replace(prediction, depth=depth, is_metric=1, depth_kind=DepthKind.METRIC, intrinsics=camera)
        return metric, focal.origins
