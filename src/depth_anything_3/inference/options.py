"""Options of the network, of batching, and of streams of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inference.output_options import OutputKwargs, OutputOptions
from depth_anything_3.inputs.choices import ProcessResMethod, ProcessResMethodName
from depth_anything_3.inputs.options import InputKwargs, PreprocessKwargs, PreprocessOptions, ViewKwargs, check_names
from depth_anything_3.model.choices import RefViewStrategy
from depth_anything_3.runtime.option_values import positive_int

__all__ = [
    "BatchInferenceKwargs",
    "BatchOptions",
    "ImageKwargs",
    "InferenceKwargs",
    "NetworkOptions",
    "StreamKwargs",
    "StreamOptions",
    "ViewForward",
]


class _NetworkKwargs(TypedDict, total=False):
    infer_gs: bool
    use_ray_pose: bool
    export_feat_layers: Sequence[int] | None


class _BatchKwargs(TypedDict, total=False):
    batch_size: int | Literal["auto"]
    max_batch_size: int
    target_memory_utilization: float


class ImageKwargs(PreprocessKwargs, _NetworkKwargs, OutputKwargs, total=False):
    """Keyword arguments of calls that compute independent images, without those of batching."""


class BatchInferenceKwargs(InputKwargs, _NetworkKwargs, OutputKwargs, total=False):
    """Keyword arguments of `DepthAnything3.batch_inference` that are not in its signature."""

    process_res_method: ProcessResMethod | ProcessResMethodName


class InferenceKwargs(ViewKwargs, OutputKwargs, total=False):
    """Keyword arguments of `DepthAnything3.inference` that are not in its signature."""


class StreamKwargs(ImageKwargs, _BatchKwargs, total=False):
    """Keyword arguments of calls that compute independent images; see `StreamOptions`."""


class ViewForward(TypedDict, total=False):
    """Keyword arguments of the network's `forward`, without cameras."""

    export_feat_layers: tuple[int, ...]
    infer_gs: bool
    use_ray_pose: bool
    ref_view_strategy: RefViewStrategy


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of the network.

    Attributes:
        infer_gs: also predict 3D Gaussians (da3-giant and the nested model).
        use_ray_pose: compute cameras from the ray map instead of the camera decoder; slower.
        ref_view_strategy: how the reference view is chosen; used with three or more views.
        export_feat_layers: backbone layers to return in `Prediction.aux`.

    Raises:
        InvalidInputError: the strategy is unknown.
    """

    infer_gs: bool = False
    use_ray_pose: bool = False
    ref_view_strategy: RefViewStrategy = RefViewStrategy.SADDLE_BALANCED
    export_feat_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref_view_strategy", RefViewStrategy(self.ref_view_strategy))
        object.__setattr__(self, "export_feat_layers", tuple(self.export_feat_layers or ()))

    def forward(self) -> ViewForward:
        """Return the keyword arguments of the network's `forward`."""
        return {
            "export_feat_layers": self.export_feat_layers,
            "infer_gs": self.infer_gs,
            "use_ray_pose": self.use_ray_pose,
            "ref_view_strategy": self.ref_view_strategy,
        }


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How many images of one size are computed together.

    Attributes:
        batch_size: a number, or "auto": on CUDA what memory holds, measured once per size. On a CPU 1, 2, 4 or 8,
            whichever was fastest per image of that size and fits the memory: tried on the first images of a run of 73
            or more, then kept in the user's cache folder; 1 for images of a generator or camera. Elsewhere 1.
            A batch that runs out of memory is halved. Depth differs by about 1e-6 of itself between batch sizes.
        max_batch_size: upper bound of "auto".
        target_memory_utilization: share of the free memory, the GPU's or the host's, that "auto" may fill, above 0 and
            at most 1.

    Raises:
        InvalidInputError: one of these is not accepted.
    """

    batch_size: int | Literal["auto"] = 1
    max_batch_size: int = 64
    target_memory_utilization: float = 0.85

    def __post_init__(self) -> None:
        if self.batch_size != "auto":
            positive_int("batch_size", self.batch_size, hint="give a whole number, 1 or more, or 'auto'")
        positive_int("max_batch_size", self.max_batch_size)
        if not 0 < self.target_memory_utilization <= 1:
            raise InvalidInputError(
                f"target_memory_utilization={self.target_memory_utilization!r}: give a share above 0 and at most 1"
            )


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Options of a stream of independent images: preprocessing, network, batching, and the size of results."""

    preprocess: PreprocessOptions = field(default_factory=PreprocessOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    batching: BatchOptions = field(default_factory=BatchOptions)
    output: OutputOptions = field(default_factory=OutputOptions)

    @classmethod
    def parse(
        cls,
        given: Mapping[str, Any],  # Any: not checked yet
        *,
        caller: Callable[..., object],
        keywords: type = StreamKwargs,
    ) -> StreamOptions:
        """Build the options from the keyword arguments of a public function.

        Args:
            given: keyword arguments of the function; those of `keywords` that are not options of a stream are ignored.
            caller: the function, named in messages.
            keywords: TypedDict of the accepted keyword arguments.

        Raises:
            InvalidInputError: a name is unknown, or a value is not accepted.
        """
        check_names(given, caller=caller, keywords=keywords)
        return cls(
            preprocess=PreprocessOptions(**_of(PreprocessOptions, given)),
            network=NetworkOptions(**_of(NetworkOptions, given)),
            batching=BatchOptions(**_of(BatchOptions, given)),
            output=OutputOptions(**_of(OutputOptions, given)),
        )


def _of(record: type, given: Mapping[str, Any]) -> dict[str, Any]:  # Any: fields of different types
    names = {one.name for one in fields(record)}
    return {name: value for name, value in given.items() if name in names}
