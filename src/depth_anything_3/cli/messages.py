"""Replace Python arguments by flags in messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import get_type_hints

from typer.models import OptionInfo

from depth_anything_3.cli.flag_groups import flag_of

__all__ = ["flags_of", "in_flags"]


def flags_of(commands: Iterable[Callable[..., None]]) -> dict[str, str]:
    """Map the parameters of commands, by which messages of the Python API name them, to their flags."""
    flags: dict[str, str] = {}
    for command in commands:
        for name, hint in get_type_hints(command, include_extras=True).items():
            for note in getattr(hint, "__metadata__", ()):
                if isinstance(note, OptionInfo):
                    flags[name] = _declared(note) or flag_of(name)
    if "export_feat" in flags:
        flags["export_feat_layers"] = flags["export_feat"]  # the API's name of its parsed value
    return flags


def _declared(option: OptionInfo) -> str | None:
    """Return the flag that an option declares; None if it is derived from the parameter."""
    # Inside `Annotated`, typer takes the first declaration as the default.
    declarations = (option.default, *(option.param_decls or ()))
    return next((one for one in declarations if isinstance(one, str) and one.startswith("--")), None)


def in_flags(text: str, flags: Mapping[str, str]) -> str:
    """Replace `infer_gs=True` by `--infer-gs` and `on_error='skip'` by `--on-error skip`.

    Args:
        text: a message.
        flags: flags by the names of arguments; see `flags_of`.
    """
    if not flags:
        return text

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:
            return flags[name] if "_" in name else name
        return flags[name] if value == "True" else f"{flags[name]} {value.strip(chr(39))}"

    # Not inside a file name or URL. A name that is also an English word counts only with its value.
    names = "|".join(sorted(flags, reverse=True))
    argument = rf"(?<![\w./\\?&-])(?P<name>{names})(?:=(?P<value>'[\w.]+'|-?[\w.]*\w)|(?![\w/\\-]|\.\w))"
    return re.sub(argument, flag, text)
