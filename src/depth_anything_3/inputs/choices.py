"""The finite choices of preprocessing, as enums that accept their strings."""

from __future__ import annotations

from depth_anything_3.runtime.option_values import StringEnum

__all__ = ["Executor", "Exif", "Fidelity", "MixedSizes", "OnError", "ProcessResMethod", "Strategy"]


class ProcessResMethod(StringEnum):
    """Which side `process_res` bounds, and how both sides become multiples of 14."""

    UPPER_BOUND_RESIZE = "upper_bound_resize"
    UPPER_BOUND_CROP = "upper_bound_crop"
    LOWER_BOUND_RESIZE = "lower_bound_resize"
    LOWER_BOUND_CROP = "lower_bound_crop"

    @property
    def bounds_longest_side(self) -> bool:
        """Whether `process_res` is the longest side (else the shortest)."""
        return self in (ProcessResMethod.UPPER_BOUND_RESIZE, ProcessResMethod.UPPER_BOUND_CROP)

    @property
    def crops(self) -> bool:
        """Whether sides become multiples of 14 by a centre crop (else by a second resize)."""
        return self in (ProcessResMethod.UPPER_BOUND_CROP, ProcessResMethod.LOWER_BOUND_CROP)


class Strategy(StringEnum):
    """The ways from an image to the network's memory; `AUTO` asks for the best of them and is never the answer.

    | | decoded on | resampled on | crosses the bus | normalised on |
    |---|---|---|---|---|
    | `GPU_DECODE` | GPU | GPU | the compressed file | GPU |
    | `HYBRID` | CPU | CPU | the small 8-bit picture | GPU |
    | `FULL_GPU` | CPU | GPU | the full-size 8-bit picture | GPU |
    | `CPU` | CPU | CPU | nothing, or the network's input | CPU |
    """

    AUTO = "auto"
    GPU_DECODE = "gpu_decode"
    HYBRID = "hybrid"
    FULL_GPU = "full_gpu"
    CPU = "cpu"


class Fidelity(StringEnum):
    """How close to the reference the pixels must be.

    `EXACT`: decoders that reconstruct chroma as libjpeg does, then at most one level of 255 away. `HIGH`: 50 dB or
    more on photos; `FAST`: 44 dB or more. Both also admit GPU decoders that repeat the nearest chroma sample, where the
    picture is reduced enough to average that away.
    """

    EXACT = "exact"
    HIGH = "high"
    FAST = "fast"


class OnError(StringEnum):
    """`RAISE` stops at the first image that cannot be used; `SKIP` records it and goes on."""

    RAISE = "raise"
    SKIP = "skip"


class Exif(StringEnum):
    """Whether the EXIF orientation of an image is applied (`APPLY`) or ignored, as upstream does (`IGNORE`)."""

    APPLY = "apply"
    IGNORE = "ignore"


class Executor(StringEnum):
    """What the CPU workers are.

    `THREAD`: decoding and resampling run outside the interpreter lock, so threads are enough. `PROCESS`: for programs
    whose other threads hold that lock. Processes are spawned: a script that uses them needs the
    `if __name__ == "__main__"` guard.
    """

    THREAD = "thread"
    PROCESS = "process"


class MixedSizes(StringEnum):
    """What to do when the views of one scene differ in size after resizing.

    `CROP` crops each to the smallest height and the smallest width, as upstream does; `PAD` pads each with grey to the
    largest height and the largest width; both with a warning. `REFUSE` raises.
    """

    CROP = "crop"
    PAD = "pad"
    REFUSE = "refuse"
