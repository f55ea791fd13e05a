"""Expand data classes in a command's signature into one flag per field."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from depth_anything_3.cli.completion import complete_choices
from depth_anything_3.cli.unused import unused_flags

__all__ = ["Hide", "Omit", "flag_of", "flags_table", "grouped"]

logger = logging.getLogger(__name__)

_CONTEXT = "typer_context"

_PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class Omit:
    """Fields of a group of flags that a command does not take; an annotation of its parameter."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Hide:
    """Fields of a group of flags that a command takes and does not show; an annotation of its parameter."""

    names: tuple[str, ...]


def flag_of(name: str) -> str:
    """Name the flag of a parameter: `--process-res` for `process_res`."""
    return "--" + name.replace("_", "-")


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command of a function with parameters that are data classes.

    Such a parameter becomes one flag per field, in the order of the signature; its default value holds the flags'
    defaults. A field is described by `Annotated[..., typer.Option(...)]`, or by `help` in its metadata. The function
    is called with the data class. Flags that have no effect are logged.

    In the help, a flag stands in the panel that its `typer.Option` or metadata names, or that the class names by its
    attribute `panel`. A short flag that the function declares itself is taken from the flags of its data classes.
    """
    hints = {name: _completed(hint) for name, hint in get_type_hints(command, include_extras=True).items()}
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}  # Any: an instance of any data class
    for one in inspect.signature(command).parameters.values():
        record, omitted = _record(hints[one.name])
        if record is None:
            parameters.append(_keyword(one.name, hints[one.name], one.default))
            continue
        default = record() if one.default is inspect.Parameter.empty else one.default
        flags = [_hide(flag, hints[one.name]) for flag in _flags(record, default, omitted)]
        groups[one.name] = default, [flag.name for flag in flags]
        parameters += flags

    parameters = _with_own_short_flags(parameters, {flag for _, names in groups.values() for flag in names})
    own_context = next((one.name for one in parameters if one.annotation is typer.Context), None)
    if own_context is None:
        parameters.append(_keyword(_CONTEXT, typer.Context, inspect.Parameter.empty))

    @wraps(command)
    def run(**values: Any) -> None:  # Any: values from the command line
        context = values.pop(_CONTEXT) if own_context is None else values[own_context]
        for flag, why in unused_flags(context).items():
            logger.warning("%s has no effect: %s", flag, why)
        for name, (default, names) in groups.items():
            values[name] = replace(default, **{one: values.pop(one) for one in names})
        command(**values)

    del run.__wrapped__  # typer would read its signature
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _record(hint: Any) -> tuple[type | None, tuple[str, ...]]:  # Any: an annotation
    """Return the data class of a parameter (None: it is another type), and the fields to omit."""
    omitted: tuple[str, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        omitted = tuple(name for note in notes if isinstance(note, Omit) for name in note.names)
    return (hint, omitted) if isinstance(hint, type) and is_dataclass(hint) else (None, ())


def _hide(flag: inspect.Parameter, hint: Any) -> inspect.Parameter:  # Any: an annotation
    """Keep a flag out of the help if its group says so."""
    if not any(isinstance(note, Hide) and flag.name in note.names for note in getattr(hint, "__metadata__", ())):
        return flag
    kind, option = get_args(flag.annotation)
    option = copy(option)
    option.hidden = True
    return flag.replace(annotation=Annotated[kind, option])


def _flags(record: type, default: object, omitted: tuple[str, ...]) -> list[inspect.Parameter]:
    hints = get_type_hints(record, include_extras=True)
    return [
        _keyword(
            one.name,
            _completed(_annotation(one, hints[one.name]), one.metadata.get("panel") or getattr(record, "panel", None)),
            _plain(getattr(default, one.name)),
        )
        for one in fields(record)
        if one.init and one.name not in omitted
    ]


def _annotation(one: Field[Any], hint: Any) -> Any:  # Any: annotations
    if get_origin(hint) is Annotated:
        return hint
    text = one.metadata["help"]
    if isinstance(hint, type) and issubclass(hint, Enum):
        # Parsed by the data class, whose error messages list the choices.
        return Annotated[str, typer.Option(help=text, metavar="|".join(member.value for member in hint))]
    if hint is bool and one.default is False:
        return Annotated[bool, typer.Option(flag_of(one.name), help=text)]
    return Annotated[hint, typer.Option(help=text, show_default=one.metadata.get("default") or True)]


def _completed(hint: Any, panel: str | None = None) -> Any:  # Any: annotations
    """Complete the description of a flag, if an annotation has one: panel, placeholder, choices for shells."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *notes = get_args(hint)
    parts = (kind, *(_completed_option(one, kind, panel) for one in notes))
    return Annotated[parts]


def _completed_option(note: Any, kind: Any, panel: str | None) -> Any:  # Any: a note or a type of any kind
    if not isinstance(note, OptionInfo):
        return note
    option = copy(note)
    option.rich_help_panel = note.rich_help_panel or panel
    if option.metavar is None:
        option.metavar = next((_PLACEHOLDERS[one] for one in (kind, *get_args(kind)) if one in _PLACEHOLDERS), None)
    option.autocompletion = note.autocompletion or complete_choices(option.metavar or "")
    return option


def _with_own_short_flags(parameters: list[inspect.Parameter], in_records: set[str]) -> list[inspect.Parameter]:
    """Take from the fields of data classes the short flags that other parameters declare."""
    taken = {flag for one in parameters if one.name not in in_records for flag in _short_flags(one)}
    kept = []
    for one in parameters:
        if one.name in in_records and taken.intersection(_short_flags(one)):
            kind, option = get_args(one.annotation)
            option.param_decls = tuple(flag for flag in option.param_decls if flag not in taken)  # a copy already
            one = one.replace(annotation=Annotated[kind, option])
        kept.append(one)
    return kept


def _short_flags(parameter: inspect.Parameter) -> list[str]:
    options = (note for note in get_args(parameter.annotation) if isinstance(note, OptionInfo))
    return [flag for option in options for flag in option.param_decls or () if not flag.startswith("--")]


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:  # Any: types and values of any kind
    if default is MISSING:
        default = inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def flags_table(record: type, commands: Mapping[str, Callable[..., None]]) -> str:
    """Make a Markdown table of a data class: fields, flags, defaults, and the commands that take each.

    Args:
        record: a data class whose fields have help texts.
        commands: by name; functions decorated with `grouped`.
    """
    rows = ["| option | flag | default | values | meaning | commands |", "|---|---|---|---|---|---|"]
    hints = get_type_hints(record)
    for one in fields(record):
        hint, default = hints[one.name], _plain(one.default)
        is_enum = isinstance(hint, type) and issubclass(hint, Enum)
        kind = next(iter(get_args(hint)), hint)  # of `int | None`
        values = ", ".join(f"`{member.value}`" for member in hint) if is_enum else kind.__name__
        takers = [name for name, command in commands.items() if one.name in inspect.signature(command).parameters]
        shown = one.metadata.get("default") or (f"{default:,}" if type(default) is int else default)
        cells = (f"`{one.name}`", f"`{flag_of(one.name)}`", shown, values, one.metadata["help"], ", ".join(takers))
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"
