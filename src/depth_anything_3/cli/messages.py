"""Express messages of the Python API in the terms of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import get_type_hints

from typer.models import OptionInfo

from depth_anything_3.cli.flag_groups import flag_of
from depth_anything_3.inputs.options import PreprocessOptions

__all__ = ["flags_of", "in_flags"]

_OTHERS = (
    *("batch_size", "end", "every", "export_dir", "export_feat_layers", "extrinsics", "focal", "fov", "fps"),
    *(
        "pretrained_model_name_or_path",
        "infer_gs",
        "intrinsics",
        "raw",
        "recursive",
        "resume",
        "start",
        "temporal",
        "token",
        "window",
    ),
)
"""Further arguments that messages name, and for which a command may have no flag."""

_ALIASES = {
    "export_feat_layers": "export_feat",
    "extensions": "image_extensions",
    "pretrained_model_name_or_path": "model_dir",
}
"""Arguments of the API whose flags have other names."""

_COMMANDS = {
    "`depth()`": "da3 images",
    "`inference()`": "da3 images --scene",
    "`load_prediction()`": "da3 export",
    "`model.compile()`": "--compile",
    "`stream()`": "da3 images without --scene",
    "`stream_video()`": "da3 video",
}
"""The counterparts of methods."""

# Not inside a file name or URL. Without a value, a name counts only if it cannot be an English word.
_VALUE = r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\[\]]*\]|-?[\w.]*(?:e-\d+|\w)"
_ARGUMENT = re.compile(rf"(?<![\w./\\?&-])(?P<name>[a-z][a-z0-9_]*)(?:=(?P<value>{_VALUE})?|(?![\w/\\=-]|\.\w))")
_CLAUSES = re.compile(r"(?<=[;.]) ")


def flags_of(commands: Iterable[Callable[..., None]]) -> dict[str, str | None]:
    """Map the arguments that messages of the Python API name to the flags of commands; None: they have none."""
    flags: dict[str, str | None] = dict.fromkeys((*(one.name for one in fields(PreprocessOptions)), *_OTHERS))
    for command in commands:
        for name, hint in get_type_hints(command, include_extras=True).items():
            for note in getattr(hint, "__metadata__", ()):
                if isinstance(note, OptionInfo):
                    flags[name] = _declared(note) or flag_of(name)
    flags.update({alias: flags.get(name) for alias, name in _ALIASES.items()})
    if "metric" in flags:  # the command line takes no intrinsics, but this model makes them of a focal length
        flags["intrinsics"] = "--metric with da3metric-large"
    return flags


def _declared(option: OptionInfo) -> str | None:
    """Return the flag that an option declares; None if it is derived from the parameter."""
    # Inside `Annotated`, typer takes the first declaration as the default.
    declarations = (option.default, *(option.param_decls or ()))
    declared = next((one for one in declarations if isinstance(one, str) and one.startswith("--")), None)
    return None if declared is None else declared.partition("/")[0]


def in_flags(text: str, flags: Mapping[str, str | None]) -> str:
    """Replace `infer_gs=True` by `--infer-gs`, `on_error='skip'` by `--on-error skip`, and methods by commands.

    Hints that name an argument without a flag are dropped: the clauses behind a semicolon or full stop.

    Args:
        text: a message.
        flags: flags by the names of arguments; see `flags_of`.
    """
    if not flags:
        return text
    for method, command in _COMMANDS.items():
        text = text.replace(method, command)
    first, *more = _CLAUSES.split(text)
    kept, follows = [first], True  # follows: "or" has a clause before it
    for clause in more:
        if all(flags[name] is not None for name in _arguments(clause, flags)):
            kept.append(clause if follows else clause.removeprefix("or "))
            follows = True
        else:
            follows = clause.startswith("or ")
    kept[-1] = kept[-1] if kept[-1] == (more or [first])[-1] else kept[-1].rstrip(";")
    return _ARGUMENT.sub(lambda found: _flag(found, flags), " ".join(kept))


def _arguments(text: str, flags: Mapping[str, str | None]) -> list[str]:
    """List the names of arguments in a text."""
    return [found["name"] for found in _ARGUMENT.finditer(text) if _is_argument(found, flags)]


def _is_argument(found: re.Match[str], flags: Mapping[str, str | None]) -> bool:
    return found["name"] in flags and ("_" in found["name"] or "=" in found[0])


def _flag(found: re.Match[str], flags: Mapping[str, str | None]) -> str:
    flag, value = flags.get(found["name"]), found["value"]
    if flag is None or not _is_argument(found, flags):
        return found[0]
    if value is None or value == "True":
        return flag
    if value == "False":
        return flag_of(f"no-{flag.removeprefix('--')}")
    try:
        literal = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        literal = value
    if isinstance(literal, (list, tuple)):
        return f"{flag} {','.join(map(str, literal))}"
    return f"{flag} {shlex.quote(literal) if isinstance(literal, str) else value}"
