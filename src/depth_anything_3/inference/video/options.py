"""Options of the depth of videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inference.options import StreamKwargs, StreamOptions
from depth_anything_3.inference.video.temporal_smoothing import ScaleShiftSmoother, Temporal, TemporalName
from depth_anything_3.inputs.options import check_names
from depth_anything_3.inputs.video import FrameSelection, SelectionKwargs
from depth_anything_3.model import RefViewStrategy
from depth_anything_3.model.choices import RefViewStrategyName
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import StringEnum
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["VideoKwargs", "VideoMode", "VideoModeName", "VideoOptions"]

_MAX_WORKERS = 8
_WINDOW = 16  # frames
_MAX_BATCH = 16  # frames of "auto": their full-size images stay in memory until their depth is computed


VideoModeName = Literal["throughput", "live"]
"""The strings of `VideoMode`."""


class VideoMode(StringEnum):
    """`THROUGHPUT` computes every frame in order; `LIVE` always the newest, and drops frames that arrive too fast."""

    THROUGHPUT = "throughput"
    LIVE = "live"


class VideoKwargs(StreamKwargs, SelectionKwargs, total=False):
    """Keyword arguments of calls that compute videos; see `VideoOptions`."""

    mode: VideoMode | VideoModeName
    temporal: Temporal | TemporalName | Callable[[Prediction], Prediction]
    window: int
    raw: str | None
    ref_view_strategy: RefViewStrategy | RefViewStrategyName


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is read and computed.

    Attributes:
        mode: "throughput": every frame in order, decoded ahead and computed in batches. "live": always the newest
            frame, with minimal latency; a file plays in real time.
        temporal: temporal smoothing: "none"; "ema", which removes flicker of scale and shift; "window", in which
            frames attend to each other and depth and cameras share one frame of reference (models that predict
            cameras); or a function that is called with each prediction in order.
        window: number of frames that attend to each other with "window"; a quarter of them overlap with the next.
        raw: format of frames without a container; see `open_source`.
        selection: selection of frames.
        stream: preprocessing, network and batching; "live" computes one frame at a time.

    Raises:
        InvalidInputError: a choice is unknown, or `window` is given for other smoothing.
        UnsupportedError: "window" with "live".
    """

    mode: VideoMode = VideoMode.THROUGHPUT
    temporal: Temporal | Callable[[Prediction], Prediction] = Temporal.NONE
    window: int = _WINDOW
    raw: str | None = None
    selection: FrameSelection = field(default_factory=FrameSelection)
    stream: StreamOptions = field(default_factory=StreamOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", VideoMode(self.mode))
        if isinstance(self.temporal, str) or not callable(self.temporal):
            object.__setattr__(self, "temporal", Temporal(self.temporal))
        if self.window != _WINDOW and self.temporal is not Temporal.WINDOW:
            raise InvalidInputError(f"window={self.window!r} is for temporal='window'; pass both, or neither")
        if self.temporal is Temporal.WINDOW and self.mode is VideoMode.LIVE:
            raise UnsupportedError("temporal='window' waits for later frames, unlike live video; use temporal='ema'")

    @classmethod
    def parse(
        cls,
        given: Mapping[str, Any],  # Any: not checked yet
        *,
        caller: Callable[..., object],
        keywords: type = VideoKwargs,
    ) -> VideoOptions:
        """Build the options from the keyword arguments of a public function.

        Raises:
            InvalidInputError: a name is unknown, or a value is not accepted.
        """
        check_names(given, caller=caller, keywords=keywords)
        defaults: StreamKwargs = {
            "num_workers": min(_MAX_WORKERS, usable_cores()),
            "batch_size": "auto",
            "max_batch_size": _MAX_BATCH,
        }
        own = {one.name for one in fields(cls)} - {"selection", "stream"}
        return cls(
            **{name: value for name, value in given.items() if name in own},
            selection=FrameSelection(**{k: v for k, v in given.items() if k in SelectionKwargs.__annotations__}),
            stream=StreamOptions.parse({**defaults, **given}, caller=caller, keywords=keywords),
        )

    def smoother(self) -> Callable[[Prediction], Prediction]:
        """Create the function that smooths predictions in order; create a new one for each video, as it has state."""
        if not isinstance(self.temporal, Temporal):
            return self.temporal
        return ScaleShiftSmoother() if self.temporal is Temporal.EMA else lambda prediction: prediction
