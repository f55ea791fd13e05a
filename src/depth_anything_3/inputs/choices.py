"""Enums of the options of preprocessing and results; each accepts its string value."""

from __future__ import annotations

from typing import Literal

from depth_anything_3.runtime.option_values import StringEnum

__all__ = [
    "Executor",
    "ExecutorName",
    "Exif",
    "ExifName",
    "Fidelity",
    "FidelityName",
    "MixedSizes",
    "MixedSizesName",
    "OnError",
    "OnErrorName",
    "OutputSize",
    "OutputSizeName",
    "ProcessResMethod",
    "ProcessResMethodName",
    "ResamplerName",
    "Strategy",
    "StrategyName",
    "Upsampling",
    "UpsamplingName",
]

# The strings of the enums below, and of resamplers, for editors and type checkers; a test compares them.
ExecutorName = Literal["thread", "process"]
ExifName = Literal["apply", "ignore"]
FidelityName = Literal["exact", "high", "fast"]
MixedSizesName = Literal["crop", "pad", "refuse"]
OnErrorName = Literal["raise", "skip"]
OutputSizeName = Literal["network", "input"]
ProcessResMethodName = Literal["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"]
ResamplerName = Literal["triton", "torch", "kornia"]
StrategyName = Literal["auto", "gpu_decode", "hybrid", "full_gpu", "cpu"]
UpsamplingName = Literal["guided", "linear"]


class ProcessResMethod(StringEnum):
    """Which side `process_res` bounds, and how both sides become multiples of 14."""

    UPPER_BOUND_RESIZE = "upper_bound_resize"
    UPPER_BOUND_CROP = "upper_bound_crop"
    LOWER_BOUND_RESIZE = "lower_bound_resize"
    LOWER_BOUND_CROP = "lower_bound_crop"

    @property
    def bounds_longest_side(self) -> bool:
        """Whether `process_res` bounds the longest side (else the shortest)."""
        return self in (ProcessResMethod.UPPER_BOUND_RESIZE, ProcessResMethod.UPPER_BOUND_CROP)

    @property
    def crops(self) -> bool:
        """Whether a centre crop makes the sides multiples of 14 (else a second resize)."""
        return self in (ProcessResMethod.UPPER_BOUND_CROP, ProcessResMethod.LOWER_BOUND_CROP)


class Strategy(StringEnum):
    """How an image reaches the network's memory. `AUTO` selects one of the others and is never the result.

    | | decode | resample | transferred to the GPU | normalise |
    |---|---|---|---|---|
    | `GPU_DECODE` | GPU | GPU | the compressed file | GPU |
    | `HYBRID` | CPU | CPU | the resized 8-bit image | GPU |
    | `FULL_GPU` | CPU | GPU | the full-size 8-bit image | GPU |
    | `CPU` | CPU | CPU | nothing, or the network's input | CPU |
    """

    AUTO = "auto"
    GPU_DECODE = "gpu_decode"
    HYBRID = "hybrid"
    FULL_GPU = "full_gpu"
    CPU = "cpu"


class Fidelity(StringEnum):
    """How close pixels must be to the reference preprocessing.

    `EXACT`: within one 8-bit level (1 LSB), with decoders that reconstruct chroma as libjpeg does. `HIGH`: at least
    50 dB PSNR on photos; `FAST`: at least 44 dB. Both also allow GPU decoders with nearest-neighbour chroma upsampling
    where the image is reduced enough to average the difference out, and resizing the planes of video frames.
    """

    EXACT = "exact"
    HIGH = "high"
    FAST = "fast"


class OnError(StringEnum):
    """What to do about an unusable image: `RAISE` its error and stop, or `SKIP` it and record the failure."""

    RAISE = "raise"
    SKIP = "skip"


class Exif(StringEnum):
    """Whether to `APPLY` the EXIF orientation of an image or `IGNORE` it, as upstream does."""

    APPLY = "apply"
    IGNORE = "ignore"


class Executor(StringEnum):
    """Whether the CPU workers are threads or processes.

    `THREAD`: decoding and resampling release the interpreter lock, so threads scale. `PROCESS`: for programs whose
    other threads hold that lock. Processes are spawned, so a script needs the `if __name__ == "__main__"` guard.
    """

    THREAD = "thread"
    PROCESS = "process"


class MixedSizes(StringEnum):
    """What to do when the views of one scene differ in size after resizing.

    `CROP` crops each view to the smallest height and width, as upstream does; `PAD` pads each with grey to the largest
    height and width; both log a warning. `REFUSE` raises `ShapeMismatchError`.
    """

    CROP = "crop"
    PAD = "pad"
    REFUSE = "refuse"


class OutputSize(StringEnum):
    """The size of depth maps: that of the `NETWORK`'s input, or of the `INPUT` image, upright."""

    NETWORK = "network"
    INPUT = "input"


class Upsampling(StringEnum):
    """How depth maps are enlarged: `GUIDED` with edges that follow the image, or `LINEAR` by interpolation alone."""

    GUIDED = "guided"
    LINEAR = "linear"
