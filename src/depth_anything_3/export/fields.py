"""Describe the fields that a prediction has, and the fields that a format requires."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from depth_anything_3.model.catalog import ModelCard
    from depth_anything_3.prediction import Prediction

__all__ = ["ARCHIVE_FIELDS", "FRAME_FIELDS", "IN_MEMORY", "AvailableFields", "RequiredFields"]

IN_MEMORY = re.compile(r"image (\d+) \(.*\)")
"""Label of a source that is an array, an image or bytes; the group is its index."""


@dataclass(frozen=True)
class AvailableFields:
    """Fields that a prediction has, or will have once it is computed.

    Attributes:
        views: number of views; None if not known yet.
        images: the images as the network saw them.
        poses: camera extrinsics.
        intrinsics: camera intrinsics.
        gaussians: 3D Gaussians.
        features: features of the backbone.
        paths: every source is a file.
        uncropped: images were not cropped.
        owner: the prediction or model that has the fields, for messages.
    """

    views: int | None = None
    images: bool = True
    poses: bool = True
    intrinsics: bool = True
    gaussians: bool = False
    features: bool = False
    paths: bool = True
    uncropped: bool = True
    owner: str = "this model"

    @property
    def poses_of_views(self) -> bool:
        """Whether there are poses, or a single view, which needs none."""
        return self.poses or self.views == 1

    @classmethod
    def of(cls, prediction: Prediction) -> AvailableFields:
        """List the fields of a prediction. Whether its images were cropped is unknown; the writers check it."""
        return cls(
            views=len(prediction.depth),
            images=prediction.processed_images is not None,
            poses=prediction.extrinsics is not None,
            intrinsics=prediction.intrinsics is not None,
            gaussians=prediction.gaussians is not None,
            features=bool(prediction.aux),
            paths=bool(prediction.sources) and not any(IN_MEMORY.fullmatch(one) for one in prediction.sources),
            owner="this prediction",
        )

    @classmethod
    def expected(
        cls,
        card: ModelCard | None,
        *,
        views: int | None = None,
        intrinsics: bool = False,
        gaussians: bool = False,
        features: bool = False,
        paths: bool = True,
        cropped: bool = False,
    ) -> AvailableFields:
        """List the fields that a model's prediction will have.

        Args:
            card: the model; None: unknown, an any-view model is assumed.
            views: number of views, if known.
            intrinsics: whether intrinsics are given, or computed for metric depth.
            gaussians, features: whether they are requested.
            paths: whether every source is a file.
            cropped: whether preprocessing crops.
        """
        poses = card is None or card.has_poses
        return cls(
            views=views,
            poses=poses,
            intrinsics=poses or intrinsics,
            gaussians=gaussians,
            features=features,
            paths=paths,
            uncropped=not cropped,
            owner="this model" if card is None else card.name,
        )


FRAME_FIELDS = AvailableFields.expected(None, views=1, paths=False)
"""Fields that the prediction of a video's frame can have."""

ARCHIVE_FIELDS = AvailableFields.expected(None, paths=False)
"""Fields that a prediction read back from `npz` can have."""


@dataclass(frozen=True)
class RequiredFields:
    """Fields that a format cannot be written without, by the names of `AvailableFields`."""

    images: bool = False
    poses: bool = False
    intrinsics: bool = False
    gaussians: bool = False
    features: bool = False
    paths: bool = False
    poses_of_views: bool = False
    uncropped: bool = False

    def missing_from(self, available: AvailableFields) -> str | None:
        """Return the name of the first required field that is not available; None if there is none."""
        return next((name for name in self.names() if not getattr(available, name)), None)

    def names(self) -> Iterable[str]:
        """List the names of the required fields."""
        return (field.name for field in fields(self) if getattr(self, field.name))
