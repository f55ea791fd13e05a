"""Rewrite messages that name Python arguments to name flags."""

from __future__ import annotations

import re
from dataclasses import fields

from depth_anything_3.cli.flag_groups import flag_of
from depth_anything_3.cli.options import BatchFlags, MetricFlags, NetworkFlags, WriterFlags
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["in_flags"]

# Parameters of single commands that messages of the Python API name.
_OWN_NAMES = (
    "dtype",
    "every",
    "export_format",
    "fps",
    "full_size",
    "raw",
    "resume",
    "side_by_side",
    "temporal",
)
_GROUPS = (BatchFlags, MetricFlags, NetworkFlags, PreprocessOptions, WriterFlags)
_FLAGS = {name: flag_of(name) for name in (*_OWN_NAMES, *(one.name for group in _GROUPS for one in fields(group)))}
_FLAGS["export_feat_layers"] = flag_of("export_feat")
# Not within a file's name; and where a name is a word of English too, only with its value.
_ARGUMENT = re.compile(
    rf"(?<![\w./\\-])(?P<name>{'|'.join(sorted(_FLAGS, reverse=True))})"
    r"(?:=(?P<value>'[\w.]+'|-?[\w.]*\w)|(?![\w/\\-]|\.\w))"
)


def in_flags(text: str) -> str:
    """Replace `infer_gs=True` by `--infer-gs` and `on_error='skip'` by `--on-error skip`."""

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:
            return _FLAGS[name] if "_" in name else name
        return _FLAGS[name] if value == "True" else f"{_FLAGS[name]} {value.strip(chr(39))}"

    return _ARGUMENT.sub(flag, text)
