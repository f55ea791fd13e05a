"""Find flags that were given and that the other flags leave without effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from depth_anything_3.export.suffixes import suffixes

__all__ = ["is_given", "unused_flags"]

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
        written = {*str(values.get("export_format", "")).split("-")}
        if values.get("output") is not None:  # its suffix says the format
            means = suffixes().get(Path(values["output"]).suffix.lower())
            written |= {means.name} if means else set()
        return not {*formats} & written

    return applies


def _writes_no_colors(command: str, values: _Values) -> bool:
    if not values.get("export_format"):  # da3 webcam has no formats; those that da3 auto chooses have coloured depth
        return False
    colored = ("depth_vis", "depth_color", "mp4") + ("glb",) * (_is_scene(command, values) or command == "export")
    return _writes_none_of(*colored)(command, values)


_BATCHING = ("batch_size", "max_batch_size", "target_memory_utilization")
_RULES = (
    _Rule(_BATCHING, lambda command, _: command == "image", "one image is computed"),
    _Rule(("export_dir", "auto_cleanup"), lambda _, values: bool(values.get("output")), "--output names the only file"),
    _Rule(_BATCHING, _is_scene, "the views of one scene are computed together"),
    _Rule(_BATCHING[1:], lambda _, values: values.get("batch_size") != "auto", "--batch-size sets the batch size"),
    _Rule(_BATCHING, lambda _, values: values.get("temporal") == "window", "--temporal window computes whole windows"),
    _Rule(("ref_view_strategy", "mixed_sizes"), lambda *call: not _is_scene(*call), "it is for --scene"),
    _Rule(("temporal",), lambda _, values: bool(values.get("scene")), "it does not work with --scene"),
    _Rule(
        ("conf_thresh_percentile", "num_max_points"), _writes_none_of("ply", "glb", "colmap"), "no points are written"
    ),
    _Rule(("colormap", "depth_range", "shared_range"), _writes_no_colors, "no coloured depth is written"),
    _Rule(("shared_range",), lambda command, _: command == "image", "one image is computed"),
    _Rule(("depth_scale", "force_depth_scale"), _writes_none_of("depth_png"), "it is for the format depth_png"),
    _Rule(("force_depth_scale",), lambda _, values: values.get("depth_scale") is None, "it is for --depth-scale"),
    _Rule(("show_cameras",), _writes_none_of("glb"), "it is for the format glb"),
    _Rule(("feat_vis_fps",), lambda *call: not _is_scene(*call), "independent images have no video of features"),
    _Rule(("export_feat", "feat_vis_fps"), _writes_none_of("feat_vis"), "it is for the format feat_vis"),
    _Rule(("infer_gs",), _writes_none_of("gs_ply", "gs_video"), "it is for the formats gs_ply and gs_video"),
    _Rule(("device",), lambda _, values: bool(values.get("devices")), "--devices names them"),
    _Rule(("upsampling",), lambda _, values: values.get("output_size") != "input", "it is for --output-size input"),
    _Rule(("backend_url",), lambda _, values: not values.get("use_backend"), "it is for --use-backend"),
    _Rule(("reconnect",), lambda _, values: "://" not in str(values.get("source")), "it is for URLs"),
)


def unused_flags(context: typer.Context) -> dict[str, str]:
    """Return the flags given on the command line that have no effect, each with the reason."""
    flags = {one.name: one.opts[0] for one in context.command.params}
    given = {name for name in flags if is_given(context, name)}
    return {
        flags[name]: rule.why
        for rule in _RULES
        for name in rule.names
        if name in given and rule.applies(context.info_name or "", context.params)
    }


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line."""
    source = context.get_parameter_source(name)  # an enum of click, or of typer's copy of it
    return source is not None and source.name == "COMMANDLINE"
