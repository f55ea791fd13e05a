"""A message that speaks of Python's arguments in, one that speaks of the command's options out."""

from __future__ import annotations

import re

__all__ = ["in_flags"]

_NAMES = (
    "allow_truncated",
    "batch_size",
    "conf_thresh_percentile",
    "dtype",
    "every",
    "exif",
    "export_format",
    "feat_vis_fps",
    "fidelity",
    "focal",
    "fov",
    "fps",
    "full_size",
    "infer_gs",
    "max_batch_size",
    "max_bytes",
    "max_pixels",
    "mixed_sizes",
    "num_max_points",
    "num_workers",
    "on_error",
    "process_res",
    "process_res_method",
    "raw",
    "ref_view_strategy",
    "resume",
    "show_cameras",
    "side_by_side",
    "strategy",
    "temporal",
    "target_memory_utilization",
    "use_ray_pose",
)
_FLAGS = {name: "--" + name.replace("_", "-") for name in _NAMES}
_FLAGS["export_feat_layers"] = "--export-feat"
# Not within a file's name; and where a name is a word of English too, only with its value.
_ARGUMENT = re.compile(
    rf"(?<![\w./\\-])(?P<name>{'|'.join(sorted(_FLAGS, reverse=True))})"
    r"(?:=(?P<value>'[\w.]+'|-?[\w.]*\w)|(?![\w/\\-]|\.\w))"
)


def in_flags(text: str) -> str:
    """Of `infer_gs=True` makes `--infer-gs`, of `on_error='skip'` `--on-error skip`, of `max_pixels` `--max-pixels`."""

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:
            return _FLAGS[name] if "_" in name else name
        return _FLAGS[name] if value == "True" else f"{_FLAGS[name]} {value.strip(chr(39))}"

    return _ARGUMENT.sub(flag, text)
