"""Find flags that were given and that the other flags leave without effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

__all__ = ["unused_flags"]

_Values = Mapping[str, Any]  # Any: values from the command line


@dataclass(frozen=True)
class _Rule:
    """Flags that have no effect under a condition.

    Attributes:
        names: parameters of the flags.
        applies: whether they have no effect, by the command's name and the values of all its flags.
        why: the condition in words.
    """

    names: tuple[str, ...]
    applies: Callable[[str, _Values], bool]
    why: str


def _is_scene(command: str, values: _Values) -> bool:
    return bool(values.get("scene")) or command in ("auto", "colmap")


def _writes_none_of(*formats: str) -> Callable[[str, _Values], bool]:
    def applies(_command: str, values: _Values) -> bool:
        return not {*formats} & {*str(values.get("export_format", "")).split("-")}

    return applies


_BATCHING = ("batch_size", "max_batch_size", "target_memory_utilization")
_RULES = (
    _Rule(_BATCHING, lambda command, _: command == "image", "one image is computed"),
    _Rule(_BATCHING, _is_scene, "the views of one scene are computed together"),
    _Rule(_BATCHING[1:], lambda _, values: values.get("batch_size") != "auto", "--batch-size sets the batch size"),
    _Rule(_BATCHING, lambda _, values: values.get("temporal") == "window", "--temporal window computes whole windows"),
    _Rule(("ref_view_strategy", "mixed_sizes"), lambda *call: not _is_scene(*call), "it is for --scene"),
    _Rule(("temporal",), lambda _, values: bool(values.get("scene")), "it does not work with --scene"),
    _Rule(
        ("conf_thresh_percentile", "num_max_points"), _writes_none_of("ply", "glb", "colmap"), "no points are written"
    ),
    _Rule(("show_cameras",), _writes_none_of("glb"), "it is for the format glb"),
    _Rule(("export_feat", "feat_vis_fps"), _writes_none_of("feat_vis"), "it is for the format feat_vis"),
    _Rule(("infer_gs",), _writes_none_of("gs_ply", "gs_video"), "it is for the formats gs_ply and gs_video"),
    _Rule(("upsampling",), lambda _, values: values.get("output_size") != "input", "it is for --output-size input"),
    _Rule(("reconnect",), lambda _, values: "://" not in str(values.get("source")), "it is for URLs"),
)


def unused_flags(context: typer.Context) -> dict[str, str]:
    """Return the flags given on the command line that have no effect, each with the reason."""
    flags = {one.name: one.opts[0] for one in context.command.params}
    given = {name for name in flags if _is_given(context, name)}
    return {
        flags[name]: rule.why
        for rule in _RULES
        for name in rule.names
        if name in given and rule.applies(context.info_name or "", context.params)
    }


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)  # an enum of click, or of typer's copy of it
    return source is not None and source.name == "COMMANDLINE"
