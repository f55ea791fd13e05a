"""`Prediction`, the result of inference."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.choices import Upsampling, UpsamplingName
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.given_images import expand_images
from depth_anything_3.inputs.image_source import ImageInput, ImageSource
from depth_anything_3.inputs.options import InputKwargs, PreprocessOptions
from depth_anything_3.inputs.routing.strategy import RoutingDecision
from depth_anything_3.model.catalog import CANONICAL_FOCAL_PX, MODEL_CARDS, DepthKind, models_that
from depth_anything_3.model.gaussians import Gaussians
from depth_anything_3.prediction.focal_length import FocalLength, check_focal_or_fov, exif_focal_length
from depth_anything_3.prediction.upsampling import Placement
from depth_anything_3.runtime.attribute_dict import AttributeDict

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from typing_extensions import Unpack

    from depth_anything_3.export.format_options import DepthRange
    from depth_anything_3.export.options import ExportOptions

__all__ = ["Prediction", "to_metric"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.floating]


@dataclass(repr=False, eq=False)
class Prediction:
    """Depth and cameras of the N views of one scene; N is 1 for an independent image.

    Sizes (H, W) are those of the network's input, or with `at_input_size` those of the source images. Missing results
    are None. The fields up to `scale_factor` are the same as upstream's.

    Attributes:
        depth: (N, H, W) float32, distance along the optical axis; 0 where it is undefined. In metres if `is_metric`, in
            the unit of the given extrinsics if it was aligned to them, otherwise see `depth_kind`.
        is_metric: 1 if depth is in metres, else 0.
        sky: (N, H, W) bool.
        conf: (N, H, W) float32 confidence, above 1. Comparable within a scene only.
        extrinsics: (N, 3, 4) float32 world-to-camera, OpenCV axes (x right, y down, z forward); (N, 4, 4) for given
            poses that were transformed into the predicted frame.
        intrinsics: (N, 3, 3) float32 in pixels of (H, W).
        processed_images: (N, H, W, 3) uint8 RGB, the network's input before normalisation; with `at_input_size`, the
            source images.
        gaussians: 3D Gaussians, for models that predict them; tensors on the network's device, first axis 1.
        aux: `feat_layer_i` -> (N, H / 14, W / 14, C) float32, for the requested layers; the keys are also attributes.
        scale_factor: factor by which a nested model scaled its depth to metric depth.
        sources: name of each view: its path, or its index and type.
        source_hw: (height, width) of each view's upright source image.
        source_scale: (rows, columns) scale from pixels of each view's source image to pixels of (H, W).
        source_offset: (row, column) of the corner of each view's source image in pixels of (H, W): negative if the
            image was cropped, positive if it was padded.
        exif: Exif block of each view's file, or one made of the lens entries of a TIFF or of XMP; empty if it has none.
        depth_kind: unit of depth.
        model_name: name of the model.
        choices: strategy chosen for each view, and the reason.
        failures: inputs that were skipped.
        warnings: what is wrong with files that were decoded nevertheless; each text begins with the view's name. They
            are also logged, once.
        seconds: time by stage: decode, resample (on the CPU, summed over workers; decoding on a GPU until the call
            returned), network and, for results at the size of the input, upsample.
    """

    depth: npt.NDArray[np.float32]
    is_metric: int = 0
    sky: npt.NDArray[np.bool_] | None = None
    conf: npt.NDArray[np.float32] | None = None
    extrinsics: FloatArray | None = None
    intrinsics: FloatArray | None = None
    processed_images: npt.NDArray[np.uint8] | None = None
    gaussians: Gaussians | None = None
    aux: dict[str, npt.NDArray[np.float32]] = field(default_factory=AttributeDict)
    scale_factor: float | None = None
    sources: tuple[str, ...] = ()
    source_hw: tuple[tuple[int, int], ...] = ()
    source_scale: tuple[tuple[float, float], ...] = ()
    source_offset: tuple[tuple[int, int], ...] = ()
    exif: tuple[bytes, ...] = field(default=(), repr=False)
    depth_kind: DepthKind = DepthKind.RELATIVE
    model_name: str = ""
    choices: tuple[RoutingDecision, ...] = ()
    failures: tuple[ImageFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def metric_depth(
        self, focal: float | Sequence[float] | FloatArray | None = None, *, fov: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Return metric depth, for models that predict absolute scale.

        Depth of the nested model is metric already. Depth of the metric model is canonical: it refers to a focal
        length of 300 pixels, and metric depth is `depth * focal_length / 300`. See `focal_length` for its source.

        Args:
            focal: focal length in pixels of the source image, or one for each view.
            fov: horizontal field of view of the source images in degrees, instead of `focal`.

        Returns:
            (N, H, W) float32 in metres; `depth` is not changed.

        Raises:
            UnsupportedError: the depth has no unit.
            InvalidInputError: the focal length is unknown, or an argument is not accepted.
        """
        return to_metric(self, focal, fov)[0]

    def focal_length(
        self, focal: float | Sequence[float] | FloatArray | None = None, *, fov: float | None = None
    ) -> FocalLength:
        """Return the focal length of each view in pixels of (H, W), and its origin.

        It comes from `focal` or `fov` if one is given, else from `intrinsics`, else from the file's Exif block. If that
        is doubtful, because the image was cropped or zoomed, a warning names the file and the origin says so.

        Args:
            focal, fov: see `metric_depth`.

        Raises:
            InvalidInputError: the focal length is unknown, or an argument is not accepted.
        """
        count = len(self.depth)
        check_focal_or_fov(focal, fov)
        if focal is not None:
            lengths = np.asarray(focal, np.float64)
            if lengths.shape not in ((), (count,)):
                raise InvalidInputError(
                    f"focal={focal!r}: pass one positive number of pixels, or {count}, one for each view"
                )
            return self._scale_from_source(np.broadcast_to(lengths, count), "given focal length")
        if fov is not None:
            halves = np.array([width / 2 for _, width in self.source_hw], np.float64)
            return self._scale_from_source(halves / math.tan(math.radians(fov) / 2), "given field of view")
        if self.intrinsics is not None:
            pixels = self.intrinsics[:, [0, 1], [0, 1]].astype(np.float64).mean(axis=1)
            return FocalLength(pixels, ("intrinsics",) * count)
        known = [exif_focal_length(*one) for one in zip(self.exif, self.source_hw, strict=False)]
        found = [one for one in known if one is not None]
        if len(found) < count:
            name = self.sources[known.index(None)] if None in known and self.sources else "the prediction"
            raise InvalidInputError(
                f"{name}: no focal length in its Exif block; pass focal= (pixels of the source image) or fov= "
                "(horizontal, degrees)"
            )
        for name, one in zip(self.sources or ("the prediction",) * count, found, strict=False):
            if one.doubt:
                logger.warning(
                    "%s: the focal length from Exif (%.0f pixels) is doubtful: %s; pass focal (pixels of the source "
                    "image) or fov (horizontal, degrees): --focal or --fov",
                    *(name, one.pixels, one.doubt),
                )
        lengths = np.array([one.pixels for one in found], np.float64)
        origins = tuple(f"{one.origin}, doubtful" if one.doubt else one.origin for one in found)
        return FocalLength(self._scale_from_source(lengths, "").pixels, origins)

    def centred_intrinsics(self, focal: FocalLength) -> npt.NDArray[np.float32]:
        """Return (N, 3, 3) intrinsics in pixels of (H, W), with the principal point at the image centre.

        Args:
            focal: focal length of each view, from `focal_length`.
        """
        height, width = self.depth.shape[1:]
        matrices = np.tile(np.array([[0, 0, width / 2], [0, 0, height / 2], [0, 0, 1]]), (len(self.depth), 1, 1))
        # Rounding to multiples of the patch size can change the aspect ratio.
        scale = np.array(self.source_scale or ((1.0, 1.0),) * len(self.depth))
        matrices[:, [1, 0], [1, 0]] = focal.pixels[:, None] * scale / scale.mean(axis=1, keepdims=True)
        return matrices.astype(np.float32)

    def at_input_size(
        self,
        images: ImageInput | Iterable[ImageInput | ImageSource] | None = None,
        *,
        upsampling: Upsampling | UpsamplingName = Upsampling.GUIDED,
        **options: Unpack[InputKwargs],
    ) -> Prediction:
        """Return this prediction at the size of its source images, upright: (H, W) becomes (H0, W0).

        Depth is interpolated as inverse depth. "guided" makes its edges follow the image, by a fast guided filter;
        docs/output-size.md states errors and cost. Depth that is undefined does not spread into its surroundings. What
        preprocessing cropped has depth 0, confidence 1 and no sky. Intrinsics and canonical depth are converted to
        pixels of the source, so metric depth and points stay the same. Poses, Gaussians and `aux` are not changed.

        Args:
            images: the source images, in the order of the views, or the only one; None reads the files in `sources`
                again.
            upsampling: "guided" or "linear". "linear" without `images` reads nothing: `processed_images` are enlarged
                too.
            options: exif, max_pixels, max_bytes, allow_truncated: how images are decoded; pass the same as for
                inference.

        Returns:
            A new prediction, or this one if it has that size.

        Raises:
            InvalidInputError: an image is neither given nor a file, or has another size; or the prediction does not
                hold the size of its sources.
            ShapeMismatchError: the sources have different sizes.
            ImageReadError, ImageDecodeError: a file cannot be read.
        """
        from depth_anything_3.prediction import input_size  # compiles kernels for decoding: only where it is needed

        method = Upsampling(upsampling)
        decoding = PreprocessOptions.parse(options, caller=self.at_input_size, keywords=InputKwargs)
        count = len(self.depth)
        placements, labels = self._placements(), self.sources or ("the prediction",) * count
        input_size.check_one_size(labels, self.source_hw)
        if all(one == Placement(self.depth.shape[1:], (1.0, 1.0), (0, 0)) for one in placements):
            return self
        began = time.perf_counter()
        given = None if images is None else list(expand_images(images).images)  # type: ignore[arg-type]  # or sources
        guides: Iterable[npt.NDArray[np.uint8] | None] = (None,) * count
        if given is not None or method is Upsampling.GUIDED:
            guides = input_size.source_images(given, labels, self.source_hw, decoding)
        maps = input_size.ViewMaps(self.depth, self.conf, self.sky, self.processed_images)
        resized = input_size.resize_maps(maps, placements, guides, guided=method is Upsampling.GUIDED)
        depth = resized.depth
        if self.depth_kind is DepthKind.CANONICAL:
            depth *= self.canonical_factors[:, None, None]
        return replace(
            self,
            depth=depth,
            conf=resized.conf,
            sky=resized.sky,
            processed_images=resized.images,
            intrinsics=None if self.intrinsics is None else input_size.source_intrinsics(self.intrinsics, placements),
            source_scale=((1.0, 1.0),) * count,
            source_offset=((0, 0),) * count,
            seconds={**self.seconds, "upsample": time.perf_counter() - began},
        )

    @property
    def canonical_factors(self) -> npt.NDArray[np.float32]:
        """(N,) factors from depth of (H, W) to that of the source images: 1, unless depth is canonical.

        Canonical depth refers to a focal length of 300 pixels, and the pixels of the source are smaller.
        """
        if self.depth_kind is not DepthKind.CANONICAL:
            return np.ones(len(self.depth), np.float32)
        return np.asarray(np.mean(self.source_scale, axis=1), np.float32)

    def _placements(self) -> list[Placement]:
        count = len(self.depth)
        if len(self.source_hw) != count or len(self.source_scale) != count:
            raise InvalidInputError(
                "the prediction does not hold the size of its source images (files of depth do not); compute it with "
                "output_size='input', or set source_hw and source_scale"
            )
        offsets = self.source_offset or ((0, 0),) * count
        return [Placement(*one) for one in zip(self.source_hw, self.source_scale, offsets, strict=True)]

    def _why_not_metric(self) -> str:
        card = MODEL_CARDS.get(self.model_name)
        if card is not None and card.depth_kind is DepthKind.METRIC:
            return (
                f"this depth of {self.model_name} is not metric: the scene is nearly all sky, or depth is in the unit "
                "of the given poses"
            )
        model = f"depth of {self.model_name}" if self.model_name else "this depth"
        alternatives = models_that(lambda card: card.depth_kind is not DepthKind.RELATIVE)
        return f"{model} is relative, or in the unit of given poses; for metric depth use {alternatives}"

    def _scale_from_source(self, lengths: npt.NDArray[np.float64], origin: str) -> FocalLength:
        """Convert lengths in pixels of the source images to pixels of (H, W)."""
        if len(self.source_scale) != len(self.depth):
            raise InvalidInputError(
                "the prediction has no source_scale, which converts focal lengths of the source images; set it"
            )
        return FocalLength(lengths * np.array(self.source_scale).mean(axis=1), (origin,) * len(self.depth))

    def save(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,  # as in Pillow
        *,
        options: ExportOptions | None = None,
    ) -> list[Path]:
        """Write the prediction to a file, or in several formats to a folder.

        Args:
            path: with a suffix, a file: .png (`depth_color`), .jpg (`depth_vis`), .tiff, .exr, .npz, .ply or .glb. A
                format of images takes a prediction of one view. Otherwise a folder; files are named as by `export`,
                those of one view after its source. Existing files are replaced.
            format: name of the format, see docs/exports.md, such as "depth_png"; for a folder, several joined with
                '-'. None: by the suffix; "npz-depth_color" for a folder.
            options: options of the writers, such as `ExportOptions(colormap="turbo")`.

        Returns:
            Paths of the files, which were written atomically.

        Raises:
            InvalidInputError: the suffix, the format or an option is not accepted, or a file cannot hold all views.
            UnsupportedError: the prediction lacks a field that a format requires, or a package is missing.
            ExportError: a file cannot be written.
        """
        from depth_anything_3.export.save import save

        return save(self, path, format, options)

    def to_image(
        self, index: int | None = None, *, colormap: str = "spectral", depth_range: DepthRange | None = None
    ) -> Image:
        """Return the depth of a view in colour, as a Pillow image of W x H pixels.

        Args:
            index: of the view; may be left out if there is one.
            colormap: spectral, inferno, magma, plasma, viridis, turbo or gray; near is red or bright.
            depth_range: nearest and farthest depth that the colours cover, such as (1, 20); None: by the view.

        Raises:
            InvalidInputError: an argument is not accepted.
        """
        from depth_anything_3.export.display import to_image

        return to_image(self, index, colormap, depth_range)

    def plot(
        self, index: int | None = None, *, colormap: str = "spectral", depth_range: DepthRange | None = None
    ) -> Figure:
        """Draw image and depth side by side with matplotlib, and a colour bar with the depth; one row a view.

        Args:
            index: of the view to draw; None: the first eight.
            colormap, depth_range: as for `to_image`.

        Returns:
            The figure of pyplot: `matplotlib.pyplot.show()` shows it, `figure.savefig` writes it, `figure.axes` has the
            axes.

        Raises:
            InvalidInputError: an argument is not accepted.
            UnsupportedError: matplotlib is not installed.
        """
        from depth_anything_3.export.display import plot

        return plot(self, index, colormap, depth_range)

    def _repr_html_(self) -> str:
        """Return thumbnails of image and depth for a notebook, less than 100 kB."""
        from depth_anything_3.export.display import to_html

        return to_html(self)

    def __repr__(self) -> str:
        from depth_anything_3.prediction.summary import describe

        return describe(self)


def to_metric(
    prediction: Prediction, focal: float | Sequence[float] | FloatArray | None, fov: float | None
) -> tuple[npt.NDArray[np.float32], FocalLength | None]:
    """Return `Prediction.metric_depth` and the focal lengths that it used; None if depth is metric already."""
    if prediction.is_metric:
        return prediction.depth, None
    if prediction.depth_kind is not DepthKind.CANONICAL:
        raise UnsupportedError(prediction._why_not_metric())
    lengths = prediction.focal_length(focal, fov=fov)
    factors = (lengths.pixels / CANONICAL_FOCAL_PX).astype(np.float32)
    return np.asarray(prediction.depth * factors[:, None, None], np.float32), lengths
