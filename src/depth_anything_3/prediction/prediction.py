"""`Prediction`: what inference returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, MODEL_CARDS, DepthKind, models_that
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction.focal_length import FocalLength, check_lens, exif_focal_length

__all__ = ["Prediction"]

FloatArray = npt.NDArray[np.floating]


@dataclass(repr=False, eq=False)
class Prediction:
    """Depth and cameras of the N views of one scene; N is 1 for an independent image.

    Sizes are those of the network's input (H, W), not of the source pictures. Absent results are None. The fields down
    to `scale_factor` are upstream's.

    Attributes:
        depth: (N, H, W) float32, distance along the optical axis; 0 where there is none. In metres if `is_metric`, in
            the unit of the given extrinsics if it was aligned to them, otherwise see `depth_kind`.
        is_metric: 1 if depth is in metres, else 0.
        sky: (N, H, W) bool.
        conf: (N, H, W) float32, above 1; larger is surer. Comparable within a scene only.
        extrinsics: (N, 3, 4) float32 world-to-camera, OpenCV axes (x right, y down, z forward); (N, 4, 4) where the
            given ones were moved into the predicted frame.
        intrinsics: (N, 3, 3) float32 in pixels of (H, W).
        processed_images: (N, H, W, 3) uint8 RGB, what the network saw.
        gaussians: 3D Gaussians, for models that predict them; tensors where the network is, first axis 1.
        aux: `feat_layer_i` -> (N, H / 14, W / 14, C) float32, for the layers asked for.
        scale_factor: what a nested model multiplied its depth by to reach metres.
        sources: name of each view: its path, or its place and kind.
        source_hw: (height, width) of each view's upright source picture.
        source_scale: (rows, columns) how many pixels of (H, W) a pixel of each view's source picture became.
        exif: the Exif block of each view's file; empty where there is none.
        depth_kind: what a depth of 1 means.
        model_name: of the network that computed this.
        choices: the way each view took to the network's memory, and why.
        failures: inputs that were left out of this scene.
        seconds: time spent by stage: decode and resample (on the CPU, summed over workers; decoding on a GPU until the
            call returned), network.
    """

    depth: npt.NDArray[np.float32]
    is_metric: int = 0
    sky: npt.NDArray[np.bool_] | None = None
    conf: npt.NDArray[np.float32] | None = None
    extrinsics: FloatArray | None = None
    intrinsics: FloatArray | None = None
    processed_images: npt.NDArray[np.uint8] | None = None
    gaussians: Gaussians | None = None
    aux: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    scale_factor: float | None = None
    sources: tuple[str, ...] = ()
    source_hw: tuple[tuple[int, int], ...] = ()
    source_scale: tuple[tuple[float, float], ...] = ()
    exif: tuple[bytes, ...] = field(default=(), repr=False)
    depth_kind: DepthKind = DepthKind.RELATIVE
    model_name: str = ""
    choices: tuple[RoutingDecision, ...] = ()
    failures: tuple[ImageFailure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def metric_depth(
        self, focal: float | Sequence[float] | FloatArray | None = None, *, fov: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Depth in metres, of models that know the size of things.

        The nested model's is in metres already. The metric model's belongs to a focal length of 300 pixels and becomes
        metres with the camera's, depth * focal length / 300; where that comes from, see `focal_length`.

        Args:
            focal: focal length in pixels of the source picture, or one for each view.
            fov: horizontal field of view of the source pictures in degrees, in place of `focal`.

        Returns:
            (N, H, W) float32; `depth` is not changed.

        Raises:
            UnsupportedError: the depth has no unit that could be turned into metres.
            InvalidInputError: no focal length is known, or what was given is not accepted.
        """
        if self.is_metric:
            return self.depth
        if self.depth_kind is not DepthKind.CANONICAL:
            raise UnsupportedError(self._why_no_metres())
        factors = self.focal_length(focal, fov=fov).pixels / CANONICAL_FOCAL_PX
        return np.asarray(self.depth * factors.astype(np.float32)[:, None, None], np.float32)

    def focal_length(
        self, focal: float | Sequence[float] | FloatArray | None = None, *, fov: float | None = None
    ) -> FocalLength:
        """Focal length of each view in pixels of (H, W), and where it came from.

        It is `focal` or `fov` if one is given, else that of `intrinsics`, else what the file's Exif block says.

        Args:
            focal, fov: as for `metric_depth`.

        Raises:
            InvalidInputError: no focal length is known, or what was given is not accepted.
        """
        count = len(self.depth)
        check_lens(focal, fov)
        if focal is not None:
            lengths = np.asarray(focal, np.float64)
            if lengths.shape not in ((), (count,)):
                raise InvalidInputError(f"focal={focal!r}: give a positive number of pixels, or {count} of them")
            return self._of_source(np.broadcast_to(lengths, count), "given focal length")
        if fov is not None:
            halves = np.array([width / 2 for _, width in self.source_hw], np.float64)
            return self._of_source(halves / math.tan(math.radians(fov) / 2), "given field of view")
        if self.intrinsics is not None:
            pixels = self.intrinsics[:, [0, 1], [0, 1]].astype(np.float64).mean(axis=1)
            return FocalLength(pixels, ("intrinsics",) * count)
        known = [exif_focal_length(*one) for one in zip(self.exif, self.source_hw, strict=False)]
        found = [one for one in known if one is not None]
        if len(found) < count:
            name = self.sources[known.index(None)] if None in known and self.sources else "the prediction"
            raise InvalidInputError(
                f"{name}: no focal length in its Exif block; give focal (pixels of the source picture) or fov "
                "(degrees, horizontal): --focal or --fov"
            )
        lengths = np.array([pixels for pixels, _ in found], np.float64)
        return FocalLength(self._of_source(lengths, "").pixels, tuple(origin for _, origin in found))

    def centred_intrinsics(self, lens: FocalLength) -> npt.NDArray[np.float32]:
        """(N, 3, 3) intrinsics in pixels of (H, W) of cameras that look through the middle of their pictures.

        Args:
            lens: what `focal_length` told.
        """
        height, width = self.depth.shape[1:]
        matrices = np.tile(np.array([[0, 0, width / 2], [0, 0, height / 2], [0, 0, 1]]), (len(self.depth), 1, 1))
        # A picture may have been squeezed a little, to multiples of a patch.
        scale = np.array(self.source_scale or ((1.0, 1.0),) * len(self.depth))
        matrices[:, [1, 0], [1, 0]] = lens.pixels[:, None] * scale / scale.mean(axis=1, keepdims=True)
        return matrices.astype(np.float32)

    def _why_no_metres(self) -> str:
        card = MODEL_CARDS.get(self.model_name)
        if card is not None and card.depth_kind is DepthKind.METRIC:
            return (
                f"this depth of {self.model_name} is not in metres: its scene shows hardly anything but sky, or it is "
                "in the unit of the given poses"
            )
        model = f"depth of {self.model_name}" if self.model_name else "this depth"
        wanted = models_that(lambda card: card.depth_kind is not DepthKind.RELATIVE)
        return f"{model} has a unit of its own for each scene, or that of given poses; for metres take {wanted}"

    def _of_source(self, lengths: npt.NDArray[np.float64], origin: str) -> FocalLength:
        """Lengths in pixels of the source pictures to those in pixels of (H, W)."""
        if len(self.source_scale) != len(self.depth):
            raise InvalidInputError("the prediction does not say how large its source pictures were")
        return FocalLength(lengths * np.array(self.source_scale).mean(axis=1), (origin,) * len(self.depth))

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        shown = (f"{name}={_shape_or_value(value)}" for name, value in values.items() if not _is_absent(value))
        return f"Prediction({', '.join(shown)})"


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, (tuple, str, Mapping)) and not value)


def _shape_or_value(value: object) -> str:
    if isinstance(value, DepthKind):
        return repr(value.value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shape_or_value(one)}" for key, one in value.items()) + "}"
    shape = getattr(value, "shape", None)  # of an array, or of a tensor
    return repr(value) if shape is None else f"{getattr(value, 'dtype', '')}{list(shape)}"
