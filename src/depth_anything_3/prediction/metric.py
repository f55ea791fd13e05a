"""Convert predictions to metric depth by a focal length or a field of view."""

from __future__ import annotations

from dataclasses import dataclass, replace

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.model.catalog import DepthKind, ModelCard, models_that
from depth_anything_3.prediction.focal_length import check_lens
from depth_anything_3.prediction.prediction import Prediction

__all__ = ["MetricConversion"]


@dataclass(frozen=True)
class MetricConversion:
    """Converts depth to metres. Without a focal length or field of view, that of the images' Exif is used.

    Args:
        focal: focal length in pixels of the source images; see `Prediction.metric_depth`.
        fov: horizontal field of view in degrees.

    Raises:
        InvalidInputError: both are given, or one is out of range.
    """

    focal: float | None = None
    fov: float | None = None

    def __post_init__(self) -> None:
        check_lens(self.focal, self.fov)

    @staticmethod
    def check(card: ModelCard) -> None:
        """Reject a model whose depth has no unit, before anything is computed.

        Raises:
            UnsupportedError: naming the models that can.
        """
        if card.depth_kind is DepthKind.RELATIVE:
            wanted = models_that(lambda one: one.depth_kind is not DepthKind.RELATIVE)
            raise UnsupportedError(f"depth of {card.name} has no unit, so it cannot be in metres; take {wanted}")

    def apply(self, prediction: Prediction) -> tuple[Prediction, tuple[str, ...]]:
        """Convert a prediction to metric depth, with intrinsics.

        Returns:
            The prediction, and where each view's focal length came from; the same prediction and nothing where depth
            is metric already.

        Raises:
            InvalidInputError: a focal length is not known, or the depth has no unit to be turned into metres.
        """
        depth = prediction.metric_depth(self.focal, fov=self.fov)
        if prediction.is_metric:
            return prediction, ()
        lens, known = prediction.focal_length(self.focal, fov=self.fov), prediction.intrinsics
        camera = prediction.centred_intrinsics(lens) if known is None else known
        metric = replace(prediction, depth=depth, is_metric=1, depth_kind=DepthKind.METRIC, intrinsics=camera)
        return metric, lens.origins
