"""Options of the size of results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from depth_anything_3.inputs.choices import OutputSize, OutputSizeName, Upsampling, UpsamplingName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from depth_anything_3.inputs.image_source import ImageInput, ImageSource
    from depth_anything_3.inputs.options import PreprocessOptions
    from depth_anything_3.prediction import Prediction

__all__ = ["OutputKwargs", "OutputOptions"]


class OutputKwargs(TypedDict, total=False):
    """Keyword arguments of the size of results; see `OutputOptions`."""

    output_size: OutputSize | OutputSizeName
    upsampling: Upsampling | UpsamplingName


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The size of depth, confidence, sky, intrinsics and images in results.

    Attributes:
        output_size: "network": the size of the network's input. "input": that of the upright source image, see
            `Prediction.at_input_size`; the image is decoded again when its depth is known.
        upsampling: with "input", "guided" (edges follow the image) or "linear".

    Raises:
        InvalidInputError: a choice is unknown.
    """

    output_size: OutputSize = field(
        default=OutputSize.NETWORK,
        metadata={
            "help": "Size of depth maps: that of the network's input, or that of the input image.",
            "panel": "Output",
        },
    )
    upsampling: Upsampling = field(
        default=Upsampling.GUIDED,
        metadata={
            "help": "With --output-size input: enlarge with edges that follow the image, or linearly.",
            "panel": "Output",
        },
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_size", OutputSize(self.output_size))
        object.__setattr__(self, "upsampling", Upsampling(self.upsampling))

    @property
    def at_input_size(self) -> bool:
        """Whether results have the size of the input."""
        return self.output_size is OutputSize.INPUT

    def apply(
        self, prediction: Prediction, images: Iterable[ImageInput | ImageSource] | None, preprocess: PreprocessOptions
    ) -> Prediction:
        """Return a prediction at the size asked for.

        Args:
            prediction: from the network.
            images: the source images of its views; None reads the files in `sources` again.
            preprocess: the options of the run.

        Raises:
            DA3Error: see `Prediction.at_input_size`.
        """
        if not self.at_input_size:
            return prediction
        return prediction.at_input_size(
            images,
            upsampling=self.upsampling,
            exif=preprocess.exif,
            max_pixels=preprocess.max_pixels,
            max_bytes=preprocess.max_bytes,
            allow_truncated=preprocess.allow_truncated,
        )

    def depth_factor(self, prediction: Prediction) -> float:
        """Return by what the depth of a prediction of one view changes: canonical depth depends on the size."""
        return float(prediction.canonical_factors[0]) if self.at_input_size else 1.0

    def settings(self) -> dict[str, str]:
        """Return the options that results depend on, as plain values for a manifest; none for the network's size."""
        if not self.at_input_size:
            return {}
        return {"output_size": self.output_size.value, "upsampling": self.upsampling.value}
