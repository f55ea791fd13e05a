"""Write the generated parts of docs/: tables of formats and options, and the API reference from docstrings.

python tools/write_docs.py
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

from depth_anything_3 import errors
from depth_anything_3.cli import app
from depth_anything_3.cli.flag_groups import flags_table
from depth_anything_3.export.registry import formats_table, options_table
from depth_anything_3.inputs.options import PreprocessOptions

DOCS = Path(__file__).parents[1] / "docs"

API: dict[str, tuple[str, ...]] = {
    "model": ("depth_anything_3:DepthAnything3",),
    "results": (
        "depth_anything_3:Prediction",
        "depth_anything_3.prediction.focal_length:FocalLength",
        "depth_anything_3.model.gaussians:Gaussians",
        "depth_anything_3.api:ImageFailure",
        "depth_anything_3.inputs.routing.strategy:RoutingDecision",
        "depth_anything_3.model.catalog:DepthKind",
    ),
    "processors": (
        "depth_anything_3:InputProcessor",
        "depth_anything_3:GPUInputProcessor",
        "depth_anything_3.utils.io.input_processor:ProcessedBatch",
    ),
    "options": (
        "depth_anything_3:Strategy",
        "depth_anything_3:Fidelity",
        "depth_anything_3.inputs.options:PreprocessOptions",
        "depth_anything_3.inference.options:StreamOptions",
        "depth_anything_3.inference.options:NetworkOptions",
        "depth_anything_3.inference.options:BatchOptions",
        "depth_anything_3.inference.video.options:VideoOptions",
    ),
    "video": (
        "depth_anything_3.inputs.video:open_source",
        "depth_anything_3.inputs.video:Frame",
        "depth_anything_3.inputs.video:FrameSource",
        "depth_anything_3.inputs.video:SourceInfo",
        "depth_anything_3.inputs.video:FrameSelection",
        "depth_anything_3.inference.video.temporal_smoothing:ScaleShiftSmoother",
    ),
    "export": (
        "depth_anything_3.export:export",
        "depth_anything_3.export:load_prediction",
        "depth_anything_3.export:ExportOptions",
        "depth_anything_3.export:check_formats",
        "depth_anything_3.export:parse_formats",
        "depth_anything_3.export:result_files",
        "depth_anything_3.export:AvailableFields",
        "depth_anything_3.export:ExportFormat",
        "depth_anything_3.export.colormap:colorize_depth",
        "depth_anything_3.export.colormap:inverse_depth_range",
        "depth_anything_3.export.video_file:write_mp4",
    ),
}
"""Public objects by section of docs/api.md, as "module:name"."""

KEYWORDS = (
    "depth_anything_3.inputs.options:InputKwargs",
    "depth_anything_3.inputs.options:PreprocessKwargs",
    "depth_anything_3.inputs.options:ViewKwargs",
    "depth_anything_3.inputs.options:ProcessorKwargs",
    "depth_anything_3.inference.options:ImageKwargs",
    "depth_anything_3.inference.options:StreamKwargs",
    "depth_anything_3.export.options:ExportKwargs",
    "depth_anything_3.export.image_results:DepthKwargs",
    "depth_anything_3.inputs.video:SelectionKwargs",
    "depth_anything_3.inference.video.options:VideoKwargs",
    "depth_anything_3.inference.options:BatchInferenceKwargs",
    "depth_anything_3.inference.model_kwargs:ModelKwargs",
    "depth_anything_3.inference.model_kwargs:LoadKwargs",
    "depth_anything_3.inference.model_kwargs:SaveKwargs",
)

_WIDTH = 100
_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example):")
_NO_METHODS = {"AvailableFields", "ExportFormat", "FrameSelection"}
_OWN_METHODS_ONLY = {"GPUInputProcessor"}  # the others are on the page already
_HIDDEN = {"batches", "engine", "of", "part", "scene", "views"}  # for the other layers of the package


def api_section(places: Sequence[str]) -> str:
    """Signature and docstring of each object, and of its public methods."""
    parts = []
    for place in places:
        module, name = place.split(":")
        parts += _object(module, name, getattr(import_module(module), name))
    return "\n\n".join(parts)


def keywords_table() -> str:
    """Name of each group of keyword arguments, and the names in it."""
    rows = ["| group | keyword arguments |", "|---|---|"]
    known: dict[str, set[str]] = {}
    for place in KEYWORDS:
        module, name = place.split(":")
        names = list(getattr(import_module(module), name).__annotations__)
        left, words = set(names), []
        for group, members in reversed(known.items()):
            if members <= left:
                left -= members
                words.append(f"those of `{group}`")
        words += [f"`{one}`" for one in names if one in left]
        rows.append(f"| `{name}` | {', '.join(words)} |")
        known[name] = set(names)
    return "\n".join(rows)


def errors_table() -> str:
    """Each error, the classes it can be caught as, and its docstring."""
    rows = ["| error | also caught as | meaning |", "|---|---|---|"]
    for name in errors.__all__:
        error = getattr(errors, name)
        bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
        rows.append(f"| `{name}` | {bases} | {inspect.cleandoc(error.__doc__)} |")
    return "\n".join(rows)


def _object(module: str, name: str, value: Any) -> list[str]:  # Any: a class or a function
    head, imported = f"### `{name}`", f"from {module} import {name}"
    if not isinstance(value, type):
        return [head, _code(f"{imported}\n\n{_signature(name, value)}"), _docstring(value)]
    if issubclass(value, Enum):
        values = ", ".join(f"`{one.value}`" for one in value)
        return [head, _code(imported), f"Values: {values}.", _docstring(value)]
    made = "" if _is_result(value) else f"\n\n{_signature(name, value)}"
    parts = [head, _code(imported + made), _docstring(value)]
    hidden = name in _NO_METHODS or name.endswith("Options")
    return parts if hidden else [*parts, *_members(name, value)]


def _is_result(value: type) -> bool:
    """Whether users receive objects of this class and its docstring lists the attributes: no signature is needed."""
    received = dataclasses.is_dataclass(value) and not value.__name__.endswith("Options")
    return inspect.isabstract(value) or (received and "Attributes:" in (value.__doc__ or ""))


def _members(name: str, value: type) -> list[str]:
    """Public methods and properties that this package defines, those of base classes included."""
    seen: dict[str, object] = {}
    for one in value.__mro__[: 1 if name in _OWN_METHODS_ONLY else None]:
        if one.__module__.startswith("depth_anything_3"):
            for key, member in vars(one).items():
                seen.setdefault(key, member)
    parts = []
    for key, member in seen.items():
        if key != "__call__" and (key.startswith("_") or key in _HIDDEN):
            continue
        if isinstance(member, property) and member.fget is not None:
            kind = member.fget.__annotations__.get("return", "")
            parts.append(f"#### `{name}.{key}`\n\n`{kind}` (property)\n\n{_docstring(member)}")
        elif isinstance(member, classmethod):
            parts.append(_method(name, key, member.__func__))
        elif inspect.isfunction(member):
            parts.append(_method(name, key, member))
    return parts


def _method(name: str, key: str, function: Callable[..., object]) -> str:
    return f"#### `{name}.{key}`\n\n{_code(_signature(key, function, bound=True))}\n\n{_docstring(function)}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _signature(name: str, value: Callable[..., object], *, bound: bool = False) -> str:
    """The call as Python writes it; one parameter a line where it is long."""
    signature = inspect.signature(value)
    factories = {
        one.name: f"{getattr(one.default_factory, '__name__', 'factory')}()"
        for one in (dataclasses.fields(value) if dataclasses.is_dataclass(value) else ())
        if one.default_factory is not dataclasses.MISSING
    }
    words: list[str] = []
    kinds = inspect.Parameter
    starred = False
    for one in list(signature.parameters.values())[1 if bound else 0 :]:
        starred = starred or one.kind is kinds.VAR_POSITIONAL
        if one.kind is kinds.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        word = str(one).partition(":")[0].partition("=")[0].strip()  # with its stars
        if one.annotation is not kinds.empty:
            word += f": {_plain(one.annotation)}"
        if one.default is not kinds.empty:
            word += f" = {factories.get(one.name) or _value(one.default)}"
        words.append(word)
    returns = signature.return_annotation
    end = "" if isinstance(value, type) or returns in (signature.empty, None, "None") else f" -> {_plain(returns)}"
    line = f"{name}({', '.join(words)}){end}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){end}"


def _plain(annotation: Any) -> str:  # Any: a string, or a class
    text: str = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.replace("'", '"')  # as the formatter has it


def _value(default: object) -> str:
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, int) and default >= 10_000:
        return f"{default:_}"
    if dataclasses.is_dataclass(default):
        return f"{type(default).__name__}()"
    return str(getattr(default, "__name__", repr(default)))


def _docstring(value: object) -> str:
    """A docstring in Markdown: what it does, then its sections as lists."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in (inspect.getdoc(value) or "").splitlines():
        if _SECTION.fullmatch(line):
            sections.append((line[:-1], []))
        else:
            sections[-1][1].append(line)
    parts = []
    for title, lines in sections:
        text = textwrap.dedent("\n".join(lines)).strip("\n")
        if title in ("Args", "Attributes", "Raises"):
            parts.append(f"{title}:\n\n{_entries(text)}")
        elif title == "Example":
            code = re.sub(r"^(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE)
            parts.append(_code(re.sub(r" +#", "  #", code)))  # as the formatter has it
        else:
            parts.append(f"{title}: {text}" if title else text)
    return "\n\n".join(part for part in parts if part)


def _entries(text: str) -> str:
    """Lines of `names: text`, with what is indented below each, as a list."""
    lines = []
    for line in text.splitlines():
        names, colon, rest = line.partition(":")
        if line.startswith(" ") or not line:
            lines.append(f"  {line[4:]}".rstrip())
        elif colon:
            lines.append(f"- {', '.join(f'`{one}`' for one in names.split(', '))}:{rest}")
        else:
            lines.append(f"- {line}")
    return "\n".join(lines)


def tables() -> dict[Path, dict[str, str]]:
    """Make the generated parts of each page, by the names of their markers."""
    commands = {str(one.name): one.callback for one in app.registered_commands if one.callback is not None}
    return {
        DOCS / "options.md": {"options": flags_table(PreprocessOptions, commands)},
        DOCS / "exports.md": {"formats": formats_table(), "options": options_table()},
        DOCS / "api.md": {
            **{section: api_section(places) for section, places in API.items()},
            "keywords": keywords_table(),
            "errors": errors_table(),
        },
    }


def with_tables(text: str, written: dict[str, str]) -> str:
    """Insert the generated parts of a page between their markers."""
    for name, table in written.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + table.strip() + "\n" + end + after
    return text


def main() -> None:
    """Rewrite every page."""
    for page, written in tables().items():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), written), encoding="utf-8")


if __name__ == "__main__":
    main()
