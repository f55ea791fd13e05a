"""Preprocessing options as one validated, frozen record."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypedDict

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.choices import (
    Executor,
    ExecutorName,
    Exif,
    ExifName,
    Fidelity,
    FidelityName,
    MixedSizes,
    MixedSizesName,
    OnError,
    OnErrorName,
    ProcessResMethod,
    ProcessResMethodName,
    Strategy,
    StrategyName,
)
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES, MAX_BYTES, MAX_PIXELS, check_process_res
from depth_anything_3.runtime.option_values import positive_int

__all__ = [
    "InputKwargs",
    "PreprocessKwargs",
    "PreprocessOptions",
    "ProcessorKwargs",
    "ViewKwargs",
    "check_names",
]


class InputKwargs(TypedDict, total=False):
    """Keyword arguments of every call that prepares images; see `PreprocessOptions`."""

    num_workers: int
    executor: Executor | ExecutorName
    on_error: OnError | OnErrorName
    exif: Exif | ExifName
    strategy: Strategy | StrategyName
    fidelity: Fidelity | FidelityName
    max_pixels: int
    max_bytes: int
    allow_truncated: bool


class PreprocessKwargs(InputKwargs, total=False):
    """Keyword arguments of calls that prepare independent images; see `PreprocessOptions`."""

    process_res: int | None
    process_res_method: ProcessResMethod | ProcessResMethodName


class ViewKwargs(InputKwargs, total=False):
    """Keyword arguments of calls that prepare the views of one scene; see `PreprocessOptions`."""

    mixed_sizes: MixedSizes | MixedSizesName


class ProcessorKwargs(ViewKwargs, total=False):
    """Keyword arguments of a call of an input processor; the last three are upstream's.

    `sequential=True` prepares one image at a time. `print_progress` and `desc` have no effect.
    """

    sequential: bool | None
    print_progress: bool
    desc: str | None


def _metadata(help: str, *, panel: str = "", in_result: bool = False, default: str = "") -> dict[str, object]:
    """Return the metadata of a field.

    Args:
        help: its help text.
        panel: its panel in the help.
        in_result: whether results depend on its value.
        default: what the help shows in place of a default of None.
    """
    return {"help": help, "panel": panel, "in_result": in_result, "default": default}


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """All options from an image to the network's input. Strings are converted to enums; compares by value.

    `docs/options.md` lists the fields, with the flags of the command line. If `process_res` is None, the model decides;
    see `for_model`.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    process_res: int | None = field(
        default=None,
        metadata=_metadata(
            "Resize the longest side to this many pixels (with lower_bound_*: the shortest side).",
            panel="Input",
            in_result=True,
            default=f"{DEFAULT_PROCESS_RES}; da3-nano: 224",
        ),
    )
    process_res_method: ProcessResMethod = field(
        default=ProcessResMethod.UPPER_BOUND_RESIZE,
        metadata=_metadata(
            "Bound the longest (upper) or the shortest (lower) side, then resize or crop to multiples of 14.",
            panel="Input",
            in_result=True,
        ),
    )
    exif: Exif = field(
        default=Exif.APPLY,
        metadata=_metadata(
            "Apply the EXIF orientation, or ignore it as upstream does.",
            panel="Input",
            in_result=True,
        ),
    )
    mixed_sizes: MixedSizes = field(
        default=MixedSizes.CROP,
        metadata=_metadata(
            "For views of one scene that differ in size: crop to the smallest, pad to the largest, or refuse.",
            panel="Views and 3D",
            in_result=True,
        ),
    )
    strategy: Strategy = field(
        default=Strategy.AUTO,
        metadata=_metadata(
            "Where images are decoded and resized; da3 doctor shows what auto chooses and why.",
            panel="Performance",
        ),
    )
    fidelity: Fidelity = field(
        default=Fidelity.EXACT,
        metadata=_metadata(
            "Accuracy of the resized pixels: exact (within 1 level of 255), high (50 dB PSNR) or fast (44 dB PSNR).",
            panel="Performance",
            in_result=True,
        ),
    )
    num_workers: int = field(
        default=8,
        metadata=_metadata(
            "Number of images decoded and resized in parallel; at most one per core.",
            panel="Performance",
        ),
    )
    executor: Executor = field(
        default=Executor.THREAD, metadata=_metadata("Run the workers as threads or as processes.", panel="Performance")
    )
    on_error: OnError = field(
        default=OnError.RAISE,
        metadata=_metadata(
            "When an image cannot be used: raise an error and stop, or skip and report it.",
            panel="Limits",
        ),
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata=_metadata("Reject images with more pixels than this.", panel="Limits")
    )
    max_bytes: int = field(
        default=MAX_BYTES, metadata=_metadata("Reject files with more bytes than this.", panel="Limits")
    )
    allow_truncated: bool = field(
        default=False,
        metadata=_metadata(
            "Decode truncated or damaged files as far as possible, with a warning.",
            panel="Limits",
            in_result=True,
        ),
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value, kind = getattr(self, one.name), type(one.default)
            if issubclass(kind, Enum):
                object.__setattr__(self, one.name, kind(value))
            elif kind is bool and not isinstance(value, bool):
                raise InvalidInputError(f"{one.name}={value!r}: give True or False")
            elif kind is int:
                object.__setattr__(self, one.name, positive_int(one.name, value))
        if self.process_res is not None:
            object.__setattr__(self, "process_res", check_process_res(self.process_res))

    @classmethod
    def parse(
        cls,
        given: Mapping[str, Any],  # Any: unchecked input
        *,
        caller: Callable[..., object],
        keywords: type = PreprocessKwargs,
    ) -> PreprocessOptions:
        """Build the record from a public function's keyword arguments.

        Args:
            given: the function's keyword arguments.
            caller: the function, named in messages.
            keywords: TypedDict of the accepted names.

        Raises:
            InvalidInputError: a name is unknown (the message lists the accepted ones), or a value is not accepted.
        """
        check_names(given, caller=caller, keywords=keywords)
        return cls(**given)

    @property
    def bounded_px(self) -> int:
        """Length of the bounded side in pixels: `process_res`, or 504 if it is None."""
        return self.process_res or DEFAULT_PROCESS_RES

    def for_model(self, best_process_res: int | None) -> PreprocessOptions:
        """Return the options with a `process_res`: as it is, else the best one of a model, else 504."""
        return replace(self, process_res=self.process_res or best_process_res or DEFAULT_PROCESS_RES)

    def result_settings(self) -> dict[str, str | int | bool | None]:
        """Return the options that results depend on, as plain values for a manifest."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.metadata["in_result"]}
        return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def check_names(given: Mapping[str, object], *, caller: Callable[..., object], keywords: type) -> None:
    """Check the names of a function's keyword arguments.

    Args:
        given: the function's keyword arguments.
        caller: the function.
        keywords: TypedDict of the accepted names.

    Raises:
        InvalidInputError: a name is unknown; the message gives the closest accepted name, and all of them.
    """
    unknown = given.keys() - keywords.__annotations__
    if not unknown:
        return
    own = (name for name, one in inspect.signature(caller).parameters.items() if one.kind is not one.VAR_KEYWORD)
    accepted = sorted({*keywords.__annotations__, *own} - {"self"})
    name = min(unknown)
    close = difflib.get_close_matches(name, accepted, 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    called = caller.__name__ if caller.__name__ != "__call__" else type(getattr(caller, "__self__", caller)).__name__
    raise InvalidInputError(f"{called}() has no argument {name!r}{hint} It accepts: {', '.join(accepted)}")
